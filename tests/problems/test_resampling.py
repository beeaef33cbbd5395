"""Rows of one group are never in two splits, and rare classes are in all of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises

from affinity import load_table
from affinity.problems import RandomRows, TimeBlocks
from affinity.tasks import Examples, RSquared, SquaredError, Task
from affinity.training.judge import block_losses


def patients(n_groups=60, seed=0):
    """Uneven groups whose rows share their labels."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_groups), random.integers(1, 9, n_groups))
    random.shuffle(patient)
    tall, sick = random.normal(size=n_groups)[patient], (np.arange(n_groups) < 12)[patient]
    return pd.DataFrame(
        {
            "x": random.normal(size=len(patient)),
            "patient": [f"p{number}" for number in patient],
            "day": random.permutation(len(patient)),
            "tall": tall,
            "sick": sick.astype(int),
        }
    )


def groups_of(*parts):
    return [set(part.groups.tolist()) for part in parts]


def assert_disjoint(*sets):
    assert all(sets)
    assert len(set().union(*sets)) == sum(map(len, sets))


@pytest.mark.parametrize("split", ["random", "time", "column"])
def test_groups_stay_together_in_every_split_of_every_replicate(split):
    table = patients()
    options = {}
    if split == "time":
        options = {"time_column": "day", "test_share": 0.1}
    if split == "column":
        table["part"] = np.where(table["patient"].str.endswith(("7", "8")), "test", "train")
        table.loc[table["patient"] == "p9", "part"] = ["test", *["train"] * 20][
            : (table["patient"] == "p9").sum()
        ]
        options = {"split_column": "part"}
    problem = load_table(table, ["tall", "sick"], groups="patient", **options)
    for replicate in problem.replicates(5):
        parts = replicate.training, replicate.validation, replicate.evaluation, replicate.test
        assert_disjoint(*groups_of(*parts))
    codes = {note.code for note in problem.notes}
    assert ("divided-groups" in codes) == (split != "random")
    use = next(use for use in problem.source.columns if use.name == "patient")
    assert use.encoded_as == "group of the row"


def test_random_groups_are_stratified_and_of_the_asked_size():
    table = patients(400)
    problem = load_table(table, ["tall", "sick"], groups="patient")
    assert len(problem.test) / len(table) == pytest.approx(0.25, abs=0.03)
    sick = [len(part.groups[part.targets[:, 1] == 1].unique()) for part in (problem.test,)]
    assert sick == [3]  # a quarter of 12
    draws = [problem.draw(seed) for seed in range(20)]
    shares = [len(draw.validation) / len(problem.development) for draw in draws]
    assert np.mean(shares) == pytest.approx(0.2, abs=0.01)
    assert len({tuple(draw.validation.tolist()) for draw in draws}) == 20


def test_time_blocks_of_groups_are_neighbours_in_time():
    groups = torch.arange(40).repeat_interleave(5)
    rows = Examples(torch.zeros(200, 1), torch.zeros(200, 1), groups)
    draw = TimeBlocks(0.25, 0.25, blocks=4)(rows, seed=0)
    assert draw.validation.max() - draw.validation.min() == 49
    with raises("too-few-groups"):
        TimeBlocks()(Examples(torch.zeros(9, 1), torch.zeros(9, 1), torch.arange(9) // 5), seed=0)
    with raises("too-few-groups"):
        RandomRows()(Examples(torch.zeros(9, 1), torch.zeros(9, 1), torch.arange(9) // 5), seed=0)


def test_groups_can_be_given_as_values_and_a_missing_one_stands_alone():
    table = patients()
    given = load_table(table.drop(columns="patient"), ["tall", "sick"], groups=table["patient"])
    named = load_table(table, ["tall", "sick"], groups="patient")
    assert torch.equal(given.test.inputs, named.test.inputs)
    table.loc[:9, "patient"] = None
    problem = load_table(table, ["tall", "sick"], groups="patient")
    counts = torch.cat([problem.development.groups, problem.test.groups]).bincount()
    assert counts[-10:].tolist() == [1] * 10
    with raises("groups-do-not-fit"):
        load_table(table, ["tall", "sick"], groups=[1, 2])
    with raises("group-is-target"):
        load_table(table, ["tall", "sick"], groups="sick")
    with raises("all-groups-divided"):
        table["part"] = np.where(np.arange(len(table)) % 2, "test", "train")
        load_table(table, ["tall", "sick"], groups=["a"] * len(table), split_column="part")


def test_blocks_are_whole_groups_and_their_mean_is_the_loss():
    task = Task("depth", SquaredError(), RSquared())
    target = torch.tensor([3.0, 1.0, torch.nan, 1.0, 1.0])
    blocks = block_losses(task, torch.zeros(5, 1), target, torch.tensor([4, 4, 4, 9, 7]))
    assert np.mean(blocks) == pytest.approx(3.0)  # (9 + 1 + 1 + 1) / 4
    # L + B n / N (L_b - L): groups 4, 7, 9 with losses 5, 1, 1
    assert blocks == pytest.approx([3 + 3 * 0.5 * 2, 3 - 3 * 0.25 * 2, 3 - 3 * 0.25 * 2])
    many = block_losses(task, torch.zeros(900, 1), torch.ones(900), torch.arange(900) // 3)
    assert len(many) == 128


def test_intervals_over_groups_are_wider_than_over_rows():
    group = torch.arange(50).repeat_interleave(20)
    target = torch.randn(50, generator=torch.Generator().manual_seed(0))[group]
    task = Task("depth", SquaredError(), RSquared())
    spread = [
        np.std(blocks, ddof=1) / np.sqrt(len(blocks))
        for blocks in (
            block_losses(task, torch.zeros(1000, 1), target[torch.randperm(1000)]),
            block_losses(task, torch.zeros(1000, 1), target, group),
        )
    ]
    assert spread[1] > 3 * spread[0]


def test_labels_of_each_split_are_counted_and_too_few_are_said():
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(1200, 2)), columns=["x", "number"])
    table["fraud"] = (np.arange(1200) % 100 == 0).astype(int)
    problem = load_table(table, ["number", "fraud"])
    number, fraud = problem.label_counts()
    assert number.minority is None
    assert number.labelled["test"] == 300
    assert sum(fraud.minority.values()) == 12
    assert fraud.minority["test"] == 3
    assert (number.is_too_few, fraud.is_too_few) == (False, True)
    (note,) = [note for note in problem.notes if note.code == "too-few-to-judge"]
    assert (note.task, note.severity, note.value) == ("fraud", "serious", 3.0)


def test_numbers_that_are_mostly_equal_are_counted_as_classes_are():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(size=1200), "y": random.normal(size=1200)})
    table["claims"] = np.where(np.arange(1200) % 100 == 0, random.uniform(1, 9, 1200), 0)
    _, claims = load_table(table, ["y", "claims"]).label_counts()
    assert sum(claims.minority.values()) == 12
    assert claims.is_too_few


def split_table():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(size=400), "y": random.normal(size=400)})
    table["part"] = np.where(np.arange(400) % 4 == 0, "test", "train")
    return table.assign(sick=random.integers(0, 2, 400), blood=random.choice(["A", "B"], 400))


def notes_of(table, targets, column="part"):
    notes = load_table(table, targets, split_column=column).notes
    return {(note.code, note.task, note.severity) for note in notes}


@pytest.mark.parametrize(("n_rows", "severity"), [(1, "warning"), (40, "serious")])
def test_classes_that_only_test_rows_have_are_said(n_rows, severity):
    table = split_table()
    table.loc[table.index[table["part"] == "test"][:n_rows], "blood"] = "O"
    assert ("unseen-classes", "blood", severity) in notes_of(table, ["blood", "y"])
    table.loc[1, "blood"] = "O"  # a row to learn from
    assert "unseen-classes" not in {code for code, _, _ in notes_of(table, ["blood", "y"])}


@pytest.mark.parametrize("target", ["sick", "y"])
def test_a_target_that_varies_in_test_rows_alone_is_said(target):
    table = split_table()
    table.loc[table["part"] == "train", target] = 0
    other = "y" if target == "sick" else "sick"
    assert ("one-label", target, "serious") in notes_of(table, [target, other])


def test_validation_rows_of_a_split_column_are_said_to_be_used_for_training():
    table = split_table()
    assert "validation-rows" not in {code for code, _, _ in notes_of(table, ["sick", "y"])}
    table.loc[1::8, "part"] = "Val "
    assert ("validation-rows", None, "note") in notes_of(table, ["sick", "y"])


def test_tasks_of_a_long_table_have_the_numbers_as_names():
    table = split_table().assign(school=np.arange(400) % 3 + 8)
    problem = load_table(table.drop(columns="part"), task_column="school", target="y")
    assert sorted(problem.names) == ["10", "8", "9"]


def test_notes_on_few_labels_count_groups_where_there_are_groups():
    table = split_table().drop(columns="part").assign(person=np.arange(400) // 20)
    notes = {note.code: note for note in load_table(table, ["sick", "y"], groups="person").notes}
    assert notes["too-few-to-judge"].value == 5
    assert "groups" in notes["too-few-to-judge"].message
