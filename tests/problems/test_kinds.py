"""Kinds of targets beyond classes and numbers: counts, logarithms, levels and sets of labels."""

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises

from affinity import load_table
from affinity.problems import train_networks
from affinity.problems.target_columns import TargetKind, expand_sets
from affinity.tasks import (
    CensoredDeviance,
    OrdinalCrossEntropy,
    PoissonDeviance,
    SquaredLogError,
    VectorError,
)
from affinity.training import TrainingSettings


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3))
    frame = pd.DataFrame(x, columns=list("abc"))
    frame["visits"] = random.poisson(np.exp(1.5 + x[:, 0]))
    frame["revenue"] = np.exp(5 + 2 * x[:, 1] + 0.1 * random.normal(size=400))
    frame["stars"] = np.digitize(x[:, 2] + 0.3 * random.normal(size=400), [-1, 0, 0.5, 1]) + 1
    frame["tags"] = [
        ";".join(name for name, on in zip("pq", row > 0, strict=True) if on) for row in x[:, :2]
    ]
    event = random.exponential(10 * np.exp(-x[:, 0]))
    end = random.exponential(20, size=400)
    frame["months"] = np.minimum(event, end) + 0.01
    frame["left"] = np.where(event < end, "Yes", "no")
    frame["east"], frame["north"] = 100 + x[:, 1] + 0.1 * x[:, 2], 5 * x[:, 2]
    frame.loc[:19, "north"] = np.nan
    frame["mood"] = np.array(["bad", "fair", "Good"])[np.digitize(x[:, 0], [-0.5, 0.5])]
    return frame


NEW = {"months": "censored:left", "place": "vector:east,north", "mood": "ordinal:bad,fair,good"}
KINDS = {"visits": "count", "revenue": "log", "stars": "ordinal", "tags": "set"}


@pytest.fixture(scope="module")
def problem(table):
    kinds = KINDS | NEW
    return load_table(table, list(kinds), kinds=kinds, width=16)


def test_kinds_decide_losses_metrics_and_outputs(problem):
    losses = [type(task.loss) for task in problem.tasks[:3]]
    assert losses == [PoissonDeviance, SquaredLogError, OrdinalCrossEntropy]
    new = ("months", "place", "mood")
    assert problem.names == ("visits", "revenue", "stars", "tags: p", "tags: q", *new)
    assert [task.n_outputs for task in problem.tasks] == [1, 1, 4, 1, 1, 1, 2, 2]
    losses = [type(task.loss) for task in problem.tasks[5:]]
    assert losses == [CensoredDeviance, VectorError, OrdinalCrossEntropy]
    assert problem.source.features == 3
    counts = problem.replicate(0).training.targets[:, 0]
    assert counts.min() == 0
    assert counts.mean() == pytest.approx(1, abs=1e-5)


def test_each_kind_is_learned(problem):
    replicate = problem.replicate(0)
    settings = TrainingSettings(epochs=60)
    results = train_networks(problem, [frozenset(problem.names)], [replicate], settings=settings)
    for column, task in enumerate(problem.tasks):
        labels = replicate.test.targets[:, column]
        constant = task.loss(torch.zeros(len(labels), task.n_outputs), labels)
        largest = 0.9 if task.name == "months" else 0.7  # most of a time is chance
        assert results.test_loss[0, 0, column] < largest * constant, task.name


def test_metrics_are_in_the_units_of_the_target(problem):
    judged = problem.judged(metrics={"visits": "mae", "revenue": "r2", "stars": "mae"})
    assert [task.metric.power for task in judged.tasks[:3]] == [1, 0, 1]
    prediction, target = torch.tensor([[0.0], [np.log(3.0)]]), torch.tensor([1.0, 1.0])
    assert judged.tasks[0].metric(prediction, target) == pytest.approx(1.0)
    levels = torch.tensor([[1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    assert judged.tasks[2].metric(levels, torch.tensor([1.0, 3.0])) == 0.5
    with raises("unknown-metric"):
        problem.judged(metrics={"visits": "roc_auc"})


def test_predictions_are_in_the_units_of_the_table(problem, table):
    fitted = problem.encoder.fitted(torch.arange(len(problem.development)))
    outputs = {name: torch.zeros(2, 2) for name in problem.names}
    outputs["stars"] = torch.tensor([[9.0, 9.0, -9.0, -9.0], [-9.0, 9.0, -9.0, -9.0]])
    frame = fitted.decode(outputs)
    development = problem.encoder.development.numpy()
    assert frame["visits"][0] == pytest.approx(table["visits"].iloc[development].mean(), rel=1e-5)
    geometric = np.exp(np.log(table["revenue"].iloc[development]).mean())
    assert frame["revenue"][0] == pytest.approx(geometric, rel=1e-4)
    assert frame["stars"].tolist() == [3, 1]
    assert frame["mood"].isin(["bad", "fair", "Good"]).all()
    known = table.iloc[development].dropna()
    assert frame["place: east"][0] == pytest.approx(known["east"].mean())
    times, events = table["months"].iloc[development], table["left"].iloc[development] == "Yes"
    assert frame["months"][0] == pytest.approx(times.sum() / events.sum(), rel=1e-4)
    levels = frame[[name for name in frame if name.startswith("P(stars")]]
    assert (levels >= 0).all(axis=None)
    assert levels.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_sets_are_one_task_per_label():
    table = pd.DataFrame({"tags": ["a|b", "b", "", None] * 10 + ["rare", "a"], "b": range(42)})
    expanded, made, notes = expand_sets(table, ["tags"])
    assert made == {"tags": ["tags: a", "tags: b"]}
    assert [note.code for note in notes] == ["rare-labels"]
    assert expanded["tags: a"][:3].tolist() == [1, 0, 0]
    assert np.isnan(expanded["tags: a"][3])
    lists = pd.DataFrame({"tags": [["a", "b"], ["b"], []] * 10})
    assert expand_sets(lists, ["tags"])[0]["tags: b"].tolist() == [1, 1, 0] * 10
    with raises("no-labels"):
        expand_sets(pd.DataFrame({"tags": ["a"] * 9}), ["tags"])


@pytest.mark.parametrize(
    "cells",
    [
        ['["a", "b"]', '["b"]', "[]"],
        ["['a', 'b']", "['b']", "[]"],
        ["['a' 'b']", "['b']", "[ ]"],  # as NumPy writes it
        ["[a, b]", "[b]", "[]"],
        ["A name;b", "b", ""],
    ],
)
def test_lists_may_be_text(cells):
    table = pd.DataFrame({"tags": cells * 10})
    expanded, made, _ = expand_sets(table, ["tags"])
    first = "tags: A name" if "A name" in cells[0] else "tags: a"
    assert made["tags"] == [first, "tags: b"]
    assert expanded["tags: b"].tolist() == [1, 1, 0] * 10


def test_spellings_and_missing_marks_of_sets_are_noted():
    table = pd.DataFrame({"tags": ["Red;b", "red", "N/A", "unknown", "b; B", "Red"] * 10})
    expanded, made, notes = expand_sets(table, ["tags"])
    assert made["tags"] == ["tags: B", "tags: Red", "tags: b", "tags: unknown"]
    assert expanded["tags: Red"].isna().sum() == 10
    assert expanded["tags: Red"].sum() == 30
    assert {note.code for note in notes} == {"missing-marks", "spellings", "likely-missing"}


def test_lists_as_text_are_said_to_be_sets(table):
    lists = [['["a", "b"]', '["b"]', "[]"][row % 3] for row in range(len(table))]
    notes = load_table(table.assign(tags=lists), ["revenue", "tags"]).notes
    assert ("other-kind", "tags") in {(note.code, note.task) for note in notes}


def test_an_event_column_that_sounds_like_its_opposite_is_warned_of(table):
    for event, found in (("left", []), ("is_censored", ["is_censored"])):
        named, kinds = table.rename(columns={"left": event}), {"months": f"censored:{event}"}
        notes = load_table(named, ["months", "stars"], kinds=kinds).notes
        assert [note.column for note in notes if note.code == "event-column"] == found


def test_a_heavy_tail_is_noted(table):
    notes = load_table(table, ["revenue", "stars"]).notes
    assert [note.task for note in notes if note.code == "heavy-tail"] == ["revenue"]
    chosen = load_table(table, ["revenue", "stars"], kinds={"revenue": "log"}).notes
    assert "heavy-tail" not in {note.code for note in chosen}


def test_kinds_that_may_not_be_meant_and_rare_classes_are_noted(table):
    random = np.random.default_rng(0)
    table = table.assign(
        moods=random.choice(["a", "b", "a;b", "b;c", "a;c"], len(table)),
        rank=random.integers(1, 6, len(table)),
        sales=random.poisson(np.exp(2 * random.normal(size=len(table)))),
        blood=np.where(np.arange(len(table)) < 3, "C", random.choice(["A", "B"], len(table))),
    )
    targets = ["moods", "rank", "sales", "blood"]
    found = {(note.code, note.task) for note in load_table(table, targets).notes if note.task}
    assert found >= {("other-kind", "moods"), ("other-kind", "rank"), ("rare-classes", "blood")}
    assert ("heavy-tail", "sales") in found
    kinds = {"moods": "set", "rank": "ordinal", "sales": "count", "blood": "classes"}
    chosen = {note.code for note in load_table(table, targets, kinds=kinds).notes if note.task}
    assert not chosen & {"other-kind", "heavy-tail"}


def test_labels_that_do_not_fit_their_kind_are_refused(table):
    bad = {"a": "count", "b": "log", "revenue": "ordinal", "tags": "ordinal"}
    for name, kind in bad.items():
        with raises("target-does-not-fit-kind"):
            load_table(table, [name, "stars"], kinds={name: kind})


def test_a_target_of_several_columns_misses_a_label_where_one_is_missing(problem):
    place = problem.names.index("place")
    rows = torch.cat([problem.encoder.development, problem.encoder.test])
    is_missing = torch.cat([problem.development.targets, problem.test.targets])[:, place].isnan()
    assert sorted(rows[is_missing].tolist()) == list(range(20))


def test_leaks_of_times_and_events_are_looked_for(table):
    frame = table.assign(
        fee=table["months"] ** 2, reason=table["left"].map({"Yes": "moved", "no": None})
    )
    frame = frame[["a", "b", "fee", "reason", "months", "left", "visits"]]
    notes = load_table(frame, ["months", "visits"], kinds={"months": "censored:left"}).notes
    leaks = {(note.column, note.task) for note in notes if note.code == "leak"}
    assert {("fee", "months"), ("reason", "left")} <= leaks


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("censored", "unknown-kind"),
        ("censored:east", "invalid-event"),
        ("censored:nothing", "missing-column"),
        ("vector:east", "unknown-kind"),
        ("vector:a,b", "duplicate-column"),
        ("ordinal:1", "unknown-kind"),
        ("ordinal:1,2", "target-does-not-fit-kind"),
        ("count:1", "unknown-kind"),
        ("survival", "unknown-kind"),
    ],
)
def test_kinds_that_lack_something_are_refused(table, kind, code):
    with raises(code):
        load_table(table, ["months", "visits"], kinds={"months": kind})


def test_a_time_of_0_is_refused(table):
    with raises("target-does-not-fit-kind"):
        kinds = {"months": "censored:left"}
        load_table(
            table.assign(months=table["months"].clip(lower=1) - 1),
            ["months", "visits"],
            kinds=kinds,
        )


def test_kinds_can_be_sequences_for_names_with_commas(table):
    assert TargetKind.of(("vector", "a,b", "c"), "x").names == ("a,b", "c")
    frame = table.rename(columns={"left": "left, or not"})
    kinds = {"months": ("censored", "left, or not")}
    assert load_table(frame, ["months", "visits"], kinds=kinds).names == ("months", "visits")
