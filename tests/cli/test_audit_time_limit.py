"""A time limit that is too short is said, leaves out what it can, and is kept in run.json."""

import json

import pytest

TARGETS = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]
SMALL = ["--epochs", "3", "--measure-every", "2", "--width", "8"]


def time_plan(run):
    return json.loads((run / "run.json").read_text())["time_plan"]


def test_a_short_limit_leaves_out_baselines_and_replicates(call, csv, tmp_path):
    run = tmp_path / "run"
    arguments = ["audit", csv, *TARGETS, *SMALL, "--no-reference", "--time-limit", "0.01"]
    first = call(*arguments, "--out", run)
    assert first[0] == 0
    plan = time_plan(run)
    assert plan["is_cut"]
    assert (plan["baselines"], plan["replicates"], plan["used_share"]) == ("minimal", 3, 1.0)
    audit = json.loads((run / "audit.json").read_text())
    assert set(audit["candidates"]) <= {"plan", "proposed", "separate", "all-in-one"}
    assert {"time-limit", "late"} <= {note["code"] for note in audit["context"]["notes"]}
    assert audit["n_replicates"] == 2  # the limit is over before the first one
    again = call(*arguments, "--out", run)
    assert again.skipped == ["record", "estimate", "group", "retrain", "report"]
    assert time_plan(run) == plan


@pytest.mark.parametrize(
    "wrong",
    [["--time-limit", "0"], ["--time-limit", "-3"], ["--time-limit", "soon"], ["--max-rows", "0"]],
)
def test_wrong_limits_are_refused(call, csv, wrong):
    assert call("audit", csv, *TARGETS, *wrong)[0] == 2
