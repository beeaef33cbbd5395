"""A user's table becomes a problem, or the error names what is wrong with it."""

import gzip

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises

from affinity import load_table
from affinity.problems.features import find_columns
from affinity.reading import ReadingOptions


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    age = random.normal(40, 10, 200)
    return pd.DataFrame(
        {
            "age": age,
            "city": random.choice(["Bern", "Oslo", "Rome"], 200),
            "day": pd.date_range("2026-01-01", periods=200).astype(str),
            "nothing": 1,
            "sick": np.where(age + random.normal(0, 5, 200) > 40, "yes", "no"),
            "height": random.normal(170, 8, 200),
            "blood": random.choice(["0", "A", "B", "AB"], 200),
        }
    )


TARGETS = ["sick", "height", "blood"]


def test_kinds_are_found_and_can_be_overridden(table):
    table["stars"] = np.arange(200) % 5
    problem = load_table(table, [*TARGETS, "stars"])
    kinds = problem.source.kinds
    assert list(kinds.values()) == ["binary", "regression", "classes", "classes"]
    problem = load_table(table, [*TARGETS, "stars"], kinds={"stars": "regression"})
    assert problem.source.kinds["stars"] == "regression"


def test_csv_gzip_and_parquet_are_the_same_problem(table, tmp_path):
    files = [tmp_path / name for name in ("t.csv", "t.csv.gz", "t.parquet")]
    table.to_csv(files[0], index=False)
    table.to_csv(files[1], index=False)
    table.to_parquet(files[2])
    first, *others = (load_table(file, TARGETS) for file in files)
    for other in others:
        torch.testing.assert_close(other.development.inputs, first.development.inputs)
        assert torch.equal(other.test.targets.isnan(), first.test.targets.isnan())


def test_nothing_is_fitted_on_test_or_validation_rows(table):
    problem = load_table(table, TARGETS)
    replicate = problem.replicate(3)
    draw = problem.resampling(problem.development, 3)
    encoder = problem.encoder
    others = torch.cat([draw.validation, draw.evaluation])
    rows_not_trained_on = torch.cat([encoder.development[others], encoder.test]).numpy()
    changed = table.copy()
    changed.loc[rows_not_trained_on, ["age", "height"]] *= 1000
    again = load_table(changed, TARGETS).replicate(3)
    assert torch.equal(again.training.inputs, replicate.training.inputs)
    assert torch.equal(again.training.targets, replicate.training.targets)
    assert not torch.equal(again.test.inputs, replicate.test.inputs)
    assert sorted([*draw.training.tolist(), *others.tolist()]) == list(range(150))


def test_training_features_are_centred_and_scaled(table):
    inputs = load_table(table, TARGETS).replicate(0).training.inputs
    assert inputs[:, 0].mean().abs() < 1e-5
    assert (inputs[:, 0].std(correction=0) - 1).abs() < 1e-5


def test_columns_are_read_by_what_they_hold(table):
    columns = find_columns(table.drop(columns=TARGETS))
    assert columns.numbers == ("age",)
    assert columns.dates == ("day",)
    assert set(columns.categories["city"]) == {"Bern", "Oslo", "Rome"}
    assert columns.dropped == {"nothing": "constant"}


def test_rare_categories_are_hashed_and_never_pooled_into_one(table):
    table["code"] = ["common"] * 150 + [f"rare {number // 2}" for number in range(50)]
    columns = find_columns(table[["code"]])
    assert columns.categories == {"code": ("common",)}
    read = columns.read(table)["code"]
    assert read[:150].unique().tolist() == ["common"]
    assert read[150:].nunique() > 8
    assert set(read) <= set(columns.levels("code"))
    unseen = columns.read(pd.DataFrame({"code": ["never seen", None]}))["code"]
    assert set(unseen) <= set(columns.levels("code"))


def test_free_text_says_only_whether_it_is_there(table):
    table["comment"] = [f"comment {number}" if number % 3 else None for number in range(200)]
    columns = find_columns(table[["comment"]])
    assert columns.encoding("comment") == "whether there is a value"
    assert len(columns.levels("comment")) == 2
    table["other"] = ["often"] * 150 + [f"once {number}" for number in range(50)]
    assert len(find_columns(table[["other"]]).levels("other")) == 2


def test_a_missing_label_is_missing_for_that_task_only(table):
    table.loc[::2, "height"] = np.nan
    problem = load_table(table, TARGETS)
    labelled = torch.cat([problem.development.labelled, problem.test.labelled]).sum(dim=0)
    assert labelled.tolist() == [200, 100, 200]


def test_missing_features_are_imputed_and_flagged(table):
    table.loc[:50, "age"] = np.nan
    before = load_table(table.drop(columns="age").assign(age=1.5 * np.arange(200)), TARGETS)
    problem = load_table(table, TARGETS)
    assert problem.development.inputs.isfinite().all()
    assert problem.development.inputs.shape[1] == before.development.inputs.shape[1] + 1


def test_a_feature_that_gives_a_target_away_is_reported(table):
    table["height in inches"] = table["height"] / 2.54
    table["diagnosis"] = table["sick"].map({"yes": "ill", "no": "well"})
    leaks = [note for note in load_table(table, TARGETS).notes if note.code == "leak"]
    assert [(note.column, note.task, note.severity) for note in leaks] == [
        ("height in inches", "height", "serious"),
        ("diagnosis", "sick", "serious"),
    ]
    clean = load_table(table, TARGETS, exclude=["height in inches", "diagnosis"])
    assert "leak" not in {note.code for note in clean.notes}


def test_a_long_table_gives_each_task_its_own_rows():
    random = np.random.default_rng(0)
    long = pd.DataFrame(
        {
            "school": np.repeat(["north", "south", "east"], 40),
            "hours": random.normal(size=120),
            "score": random.normal(size=120),
        }
    )
    problem = load_table(long, task_column="school", target="score")
    assert problem.names == ("north", "south", "east")
    rows = torch.cat([problem.development.labelled, problem.test.labelled])
    assert torch.all(rows.sum(dim=1) == 1)
    assert problem.test.labelled.sum(dim=0).tolist() == [10, 10, 10]


def test_test_rows_can_be_the_latest_or_given(table):
    by_time = load_table(table, TARGETS, time_column="day")
    assert by_time.encoder.test.tolist() == list(range(150, 200))
    table["split"] = ["train"] * 120 + ["valid"] * 30 + ["test"] * 50
    given = load_table(table, TARGETS, split_column="split")
    assert sorted(given.encoder.test.tolist()) == list(range(150, 200))


def test_a_window_of_time_knows_nothing_of_later_rows(table):
    earlier = load_table(table, TARGETS, time_column="day", known=0.75)
    assert earlier.encoder.test.tolist() == list(range(112, 150))
    assert len(earlier.development) == 112
    with raises("missing-time-column"):
        load_table(table, TARGETS, known=0.75)


def test_rare_labels_are_on_every_side():
    random = np.random.default_rng(0)
    rare = np.zeros(400)
    rare[:20] = 1
    frame = pd.DataFrame({"x": random.normal(size=400), "rare": rare, "z": random.normal(size=400)})
    problem = load_table(frame, ["rare", "z"])
    assert problem.test.targets[:, 0].sum() == 5
    for seed in range(5):
        replicate = problem.replicate(seed)
        assert replicate.validation.targets[:, 0].sum() == 3
        assert replicate.evaluation.targets[:, 0].sum() == 3
        assert replicate.training.targets[:, 0].sum() == 9


def test_replicates_differ_and_repeat(table):
    problem = load_table(table, TARGETS)
    first, second = problem.replicates(2)
    assert not torch.equal(first.validation.inputs, second.validation.inputs)
    assert torch.equal(first.test.targets[:, 0], second.test.targets[:, 0])
    assert torch.equal(problem.replicates(2)[1].training.inputs, second.training.inputs)


BAD = {
    "missing-column": lambda t: (t, ["sick", "heigth"], {}),
    "too-few-tasks": lambda t: (t, ["sick"], {}),
    "no-labels": lambda t: (t.assign(sick=np.nan), TARGETS, {}),
    "constant-target": lambda t: (t.assign(sick="no"), TARGETS, {}),
    "duplicate-task": lambda t: (t, ["sick", "sick"], {}),
    "no-features": lambda t: (t[["nothing", *TARGETS]], TARGETS, {}),
    "text-among-numbers": lambda t: (
        t.astype({"age": object}).assign(age=lambda u: u["age"].where(u.index != 7, "unknown")),
        TARGETS,
        {},
    ),
    "text-among-numbers in a target": lambda t: (
        t.astype({"height": object}).assign(height=lambda u: u["height"].where(u.index != 3, "?")),
        TARGETS,
        {},
    ),
    "infinite-labels": lambda t: (
        t.assign(height=lambda u: u["height"].where(u.index != 5, np.inf)),
        TARGETS,
        {},
    ),
    "target-does-not-fit-kind": lambda t: (
        t,
        TARGETS,
        {"kinds": {"blood": "binary"}},
    ),
    "target-does-not-fit-kind regression": lambda t: (
        t,
        TARGETS,
        {"kinds": {"blood": "regression"}},
    ),
    "invalid-split": lambda t: (t, TARGETS, {"split_column": "city"}),
    "invalid-split with a gap": lambda t: (
        t.assign(part=["train", "test", None, *["train"] * (len(t) - 3)]),
        TARGETS,
        {"split_column": "part"},
    ),
    "invalid-time": lambda t: (t, TARGETS, {"time_column": "city"}),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_be_used_is_refused(table, case):
    frame, targets, options = BAD[case](table)
    with raises(case.partition(" ")[0]):
        load_table(frame, targets, **options)


def test_a_file_that_cannot_be_read_is_explained(table, tmp_path):
    whole = tmp_path / "whole.csv.gz"
    table.to_csv(whole, index=False)
    files = {
        "cut.csv.gz": (whole.read_bytes()[: whole.stat().st_size // 2], "damaged-file"),
        "not.csv.gz": (b"age,sick\n1,0\n", "damaged-file"),
        "cut.parquet": (b"PAR1 and then nothing", "unreadable-table"),
        "empty.csv": (b"", "empty-table"),
        "header.csv": (b"age,sick,tall\n", "empty-table"),
        "twice.csv": (b"age,sick,sick,tall\n1,2,0,1\n", "duplicate-column"),
        "binary.csv": (gzip.compress(b"age")[:9] + b"\xff\xfe", "unreadable-table"),
    }
    for name, (content, code) in files.items():
        (tmp_path / name).write_bytes(content)
        with raises(code):
            load_table(tmp_path / name, ["sick", "tall"])


def test_a_table_too_small_for_test_rows_is_refused():
    two_rows = pd.DataFrame({"x": [1.0, 2.0], "y": [0.5, 1.5], "z": [1.0, 3.5]})
    with raises("too-few-rows"):
        load_table(two_rows, ["y", "z"])


def test_a_missing_mark_of_a_set_of_labels_is_no_label():
    table = pd.DataFrame({"x": np.arange(60.0), "tags": ["a;b", "b", "", "a", "unknown", "a"] * 10})
    for mark in ("tags=unknown", "unknown"):
        options = ReadingOptions(missing=(mark, "0"))
        problem = load_table(table, targets=["tags"], kinds={"tags": "set"}, reading=options)
        assert problem.names == ("tags: a", "tags: b")
        assert "unused-mark" not in {note.code for note in problem.notes}
        labels = torch.cat([problem.development.targets, problem.test.targets])
        assert labels.isnan().sum(dim=0).tolist() == [10, 10]


def test_a_table_of_twenty_rows_is_a_problem(table):
    assert len(load_table(table[:20], ["sick", "height"], rows=20).development) == 15


@pytest.mark.parametrize(
    ("code", "options", "column"),
    [
        ("rows-without-group", {"groups": "c"}, [None, *["x", "y"] * 2] * 40),
        ("likely-missing", {"groups": "c"}, [-1, *range(4)] * 40),
        ("divided-time", {"time_column": "c"}, np.repeat([1, 2], 100)),
        (None, {"time_column": "c"}, np.arange(200) // 50),
        (None, {"time_column": "c"}, np.arange(200)),
        ("weights", {"sample_weight": "c"}, [1e9, *[1] * 199]),
        (None, {"sample_weight": "c"}, [1, 2] * 100),
    ],
)
def test_columns_of_rows_that_may_mislead_are_warned_of(table, code, options, column):
    problem = load_table(table.assign(c=column), ["height", "blood"], **options)
    found = {note.code for note in problem.notes if note.column == "c" and note.severity != "note"}
    assert (code in found) if code else not found
