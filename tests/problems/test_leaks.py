"""Columns that give a target away, rows that belong together, and time that runs backwards."""

import numpy as np
import pandas as pd
import pytest

from affinity import load_table
from affinity.problems.leaks import find_derived_targets

N = 800


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(N, 4)), columns=list("abcd"))
    frame["sick"] = (frame["a"] + random.normal(size=N) > 0).astype(int)
    frame["height"] = frame["a"] - frame["b"] + random.normal(size=N)
    frame["blood"] = random.choice(["A", "B", "O"], N)
    return frame


TARGETS = ["sick", "height", "blood"]


def notes_of(table, **options):
    """Code, column and task of each note that matters."""
    notes = load_table(table, TARGETS, **options).notes
    return {(n.code, n.column, n.task) for n in notes if n.severity != "note"}


def test_a_clean_table_has_no_warnings(table):
    table["city"] = np.random.default_rng(1).choice([f"c{i}" for i in range(50)], N)
    table["age"] = (40 + 10 * table["a"]).round()
    assert notes_of(table) == set()


def noise(seed=5):
    return np.random.default_rng(seed).normal(size=N)


REVEALING = {
    "exponential": ("height", lambda t: np.exp(-t["height"])),
    "noisy copy": ("height", lambda t: t["height"] + 0.05 * noise()),
    "square, not monotone": ("height", lambda t: (t["height"] - 40) ** 2),
    "score of a binary target": ("sick", lambda t: t["sick"] + 0.1 * noise()),
    "missing exactly when sick": ("sick", lambda t: np.where(t["sick"] == 1, np.nan, noise())),
    "missing exactly when blood is A": (
        "blood",
        lambda t: np.where(t["blood"] == "A", np.nan, (t["blood"] == "B") + 0.01 * noise()),
    ),
    "missing above a height": ("height", lambda t: np.where(t["height"] > 1, np.nan, noise())),
    "two words by height": ("height", lambda t: np.where(t["height"] > 1, "tall", "small")),
    "recoded classes": ("blood", lambda t: t["blood"].map({"A": "x", "B": "y", "O": "z"})),
    "almost always recoded": (
        "sick",
        lambda t: np.where(np.arange(N) == 3, "no", t["sick"].map({0: "no", 1: "yes"})),
    ),
    "numbers as text": ("height", lambda t: t["height"].map("{:.3f}".format)),
}


@pytest.mark.parametrize("kind", REVEALING)
def test_a_column_that_reveals_a_target_is_found(table, kind):
    task, make = REVEALING[kind]
    table["revealing"] = make(table)
    codes = {"leak", "possible-leak"}
    found = {(column, name) for code, column, name in notes_of(table) if code in codes}
    assert found == {("revealing", task)}
    assert notes_of(table, exclude=["revealing"]) == set()


def test_an_identifier_as_text_is_found_and_the_option_is_named():
    random = np.random.default_rng(2)
    labels = random.integers(0, 2, size=(60, 3))
    rows = pd.DataFrame(random.normal(size=(1200, 3)), columns=list("abc"))
    rows["id"] = [f"p{row // 20}" for row in range(1200)]
    rows[["d1", "d2", "d3"]] = labels[np.arange(1200) // 20]
    notes = load_table(rows, ["d1", "d2", "d3"]).notes
    found = [note for note in notes if note.code == "leak"]
    assert {note.task for note in found} == {"d1", "d2", "d3"}
    assert all("--group-column id" in note.message for note in found)
    assert all("--exclude id" in note.message for note in found)


def test_groups_are_found_by_name_by_labels_and_by_near_rows():
    random = np.random.default_rng(3)
    who = np.repeat(np.arange(200), 6)
    rows = pd.DataFrame(random.normal(size=(200, 6))[who] + 0.05 * random.normal(size=(1200, 6)))
    rows.columns = list("abcdef")
    rows["height"] = random.normal(size=200)[who] + 0.5 * random.normal(size=1200)
    rows["sick"] = random.integers(0, 2, 1200)

    def codes(**options):
        return {note.code for note in load_table(rows, ["height", "sick"], **options).notes}

    severities = {note.code: note.severity for note in load_table(rows, ["height", "sick"]).notes}
    assert severities["near-rows"] == "serious"
    rows["code"] = random.permutation(200)[who]
    assert "looks-like-groups" in codes()
    rows["height"] = random.normal(size=1200)
    assert "looks-like-groups" not in codes()
    rows = rows.rename(columns={"code": "customerId"})
    assert "looks-like-groups" in codes()
    assert not {"near-rows", "looks-like-groups"} & codes(groups="customerId")


def test_copies_across_the_split_are_found(table):
    twice = pd.concat([table, table, table], ignore_index=True)
    (note,) = [note for note in load_table(twice, TARGETS).notes if note.code == "copied-rows"]
    assert note.severity == "serious"
    assert note.value > 0.9
    coarse = table.assign(**{name: (table[name] > 0).astype(int) for name in "abcd"})
    coarse["height"] = (coarse["height"] > 0).astype(int)
    assert "copied-rows" not in {code for code, _, _ in notes_of(coarse)}


def test_copies_whose_labels_differ_a_little_are_one_note(table):
    twice = pd.concat([table, table.assign(height=table["height"] + 1e-6)], ignore_index=True)
    assert notes_of(twice) == {("copied-rows", None, None)}
    some = pd.concat([table, table[:40].assign(a=table["a"][:40] + 1e-4)], ignore_index=True)
    assert notes_of(some) == {("near-rows", None, None)}


def test_a_table_in_an_order_that_no_column_names_is_noted(table):
    table["height"] = np.cumsum(noise())
    assert notes_of(table) == {("similar-in-order", None, "height")}
    assert notes_of(table.sample(frac=1, random_state=0)) == set()
    in_order = table.sort_values("height", ignore_index=True)
    assert notes_of(in_order) == set()
    assert notes_of(table.assign(part=["test", *["train"] * 3] * 200), split_column="part") == set()


def test_targets_that_follow_from_others_are_found(table):
    table["inches"] = table["height"] / 2.54
    table["tall"] = (table["height"] > 1).astype(int)
    table["more"] = noise()
    table["sum"] = table["height"] + table["more"]
    pairs = {
        (note.column, note.task)
        for note in load_table(table, ["height", "inches", "tall"]).notes
        if note.code == "derived-target"
    }
    assert pairs == {("height", "inches"), ("height", "tall")}  # each with the first
    notes = load_table(table, ["height", "more", "sum"]).notes
    assert {note.task for note in notes if note.code == "derived-target"} == {
        "height",
        "more",
        "sum",
    }


def test_copies_among_many_targets_are_found():
    random = np.random.default_rng(0)
    targets = pd.DataFrame(random.normal(size=(300, 60)), columns=[f"y{i}" for i in range(60)])
    targets["y7"] = -targets["y3"]
    targets["y50"] = np.exp(targets["y3"])
    targets.loc[::5, "y50"] = np.nan
    targets["y59"] = (targets["y58"] > 0).astype(float)
    kinds = dict.fromkeys(targets, "regression")
    notes = [note for note in find_derived_targets(targets, kinds) if note.column]
    assert {(note.column, note.task) for note in notes} == {("y3", "y7"), ("y3", "y50")}


def test_time_in_the_wrong_direction_is_found(table):
    table["day"] = pd.date_range("2024-01-01", periods=N).astype(str)
    table["closed"] = pd.date_range("2024-02-01", periods=N).astype(str)
    table["part"] = np.where(np.arange(N) < 200, "test", "train")
    found = notes_of(table, time_column="day", split_column="part")
    assert found == {("trained-on-the-future", "day", None), ("later-than-the-row", "closed", None)}
    assert notes_of(table, split_column="part") >= {("trained-on-the-future", "day", None)}
    table["height"] = np.cumsum(noise()) / 5
    assert ("similar-in-time", "day", None) in notes_of(table.drop(columns=["closed", "part"]))
    assert notes_of(table.drop(columns=["closed", "part"]), time_column="day") == set()
