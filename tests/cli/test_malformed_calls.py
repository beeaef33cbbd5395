"""Malformed calls end with an error that a user can act on, never with a traceback."""

import contextlib
import io
import warnings

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from affinity.cli import main

CELLS = {
    "number": st.floats(allow_nan=True, allow_infinity=True, width=32),
    "whole": st.integers(-1000, 1000),
    "large": st.integers(-(2**63), 2**63 - 1),
    "label": st.sampled_from(["yes", "no ", "Yes", "", "NA", "?", "-"]),
    "money": st.integers(-(10**6), 10**6).map(lambda n: f"${n:,}.50"),
    "day": st.dates().map(lambda day: day.strftime("%d/%m/%Y")),
    "time": st.datetimes().map(str),
    "text": st.text(max_size=8),
    "mixed": st.one_of(st.integers(), st.text(max_size=3), st.none(), st.booleans()),
    "nothing": st.none(),
    "huge": st.integers(2**53, 2**70),
    "european": st.sampled_from(["1.234", "999", "12.500", "1,5", "2.25", "inf"]),
    "duration": st.sampled_from(["59:30", "1:02:10", "0:05"]),
    "list": st.lists(st.integers(), max_size=2),
}
KINDS = ("t=censored:a", "a=vector:t,u", "t=ordinal:yes,no", "t=ordinal", "a=set", "t=count")
NAMES = st.one_of(st.sampled_from(["a", "b", "t", "u", "day", ""]), st.text(max_size=5))
WORDS = st.one_of(
    NAMES,
    st.sampled_from(
        ["a=b", "-1", "t=-1", "day=%d/%m/%Y", "nan", "0.5", "2", "t=log,u=log", "a,b", *KINDS]
    ),
)
DATA_FLAGS = (
    *("--targets", "--target", "--kind", "--exclude", "--missing", "--date-format", "--separator"),
    *("--decimal", "--encoding", "--time-column", "--split-column", "--group-column", "--metric"),
    *("--sample-weight", "--transform", "--task-weight", "--class-weight", "--judge-by"),
    "--max-rows",
)
OTHER_FLAGS = (
    *("--task-column", "--test-share", "--validation-share", "--width", "--depth", "--epochs"),
    *("--batch-size", "--learning-rate", "--measure-every", "--seed", "--budget", "--plan"),
    *("--estimator", "--replicates", "--race-minutes", "--tolerance", "--time-limit", "--unknown"),
)
FLAGS = DATA_FLAGS + OTHER_FLAGS


@st.composite
def calls(draw):
    n_rows = draw(st.sampled_from([0, 1, 2, 5, 30]))
    names = draw(st.lists(NAMES, min_size=0, max_size=6, unique=True))
    columns = {
        name: draw(
            st.lists(CELLS[draw(st.sampled_from(list(CELLS)))], min_size=n_rows, max_size=n_rows)
        )
        for name in names
    }
    flags = draw(st.lists(st.tuples(st.sampled_from(FLAGS), WORDS), max_size=4))
    chosen = draw(st.lists(st.sampled_from(names), max_size=3)) if names else []
    targets = [word for name in chosen for word in ("--target", name)]
    words = [*targets, *(word for flag in flags for word in flag)]
    return columns, draw(st.sampled_from(["csv", "jsonl", "txt", "bytes"])), words


def check_no_traceback(folder, call):
    columns, suffix, words = call
    path = folder / f"t.{suffix}"
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
    if suffix == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif suffix == "bytes":
        path = folder / "b.csv"
        path.write_bytes(frame.to_csv(index=False).encode("utf-16")[3:])
    else:
        frame.to_csv(path, index=False, sep=";" if suffix == "txt" else ",")
    words = ["audit", str(path), *words, "--out", str(folder / "run")]
    with (
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
        pytest.raises(SystemExit) as stop,
    ):
        main(words)
    assert stop.value.code in (0, 2)


def fuzz(tmp_path, monkeypatch, examples):
    def stop_before_training(*_):
        raise SystemExit(0)

    monkeypatch.setattr("affinity.cli.run.show_problem", stop_before_training)

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(calls())
    def check(call):
        check_no_traceback(tmp_path, call)

    check()


def test_malformed_calls_have_no_traceback(tmp_path, monkeypatch):
    fuzz(tmp_path, monkeypatch, 10)


@pytest.mark.slow
def test_three_hundred_malformed_calls_have_no_traceback(tmp_path, monkeypatch):
    fuzz(tmp_path, monkeypatch, 300)
