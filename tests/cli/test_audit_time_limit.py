"""A time limit that is too short is said, leaves out what it can, and is kept in run.json."""

import json

import pytest

from affinity.cli.main import make_app

TARGETS = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]
SMALL = ["--epochs", "3", "--measure-every", "2", "--width", "8"]


def time_plan(run):
    return json.loads((run / "run.json").read_text())["time_plan"]


def test_a_short_limit_leaves_out_baselines_and_replicates(call, csv, tmp_path, monkeypatch):
    monkeypatch.setattr("affinity.cli.run.Run.seconds_for_recording", lambda _: None)
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
    shares = [each["unfinished"] for each in audit["candidates"].values()]
    assert ("few-epochs" in {each["code"] for each in audit["alerts"]}) == (max(shares) > 0.5)
    arguments[-1] = "0.6s"
    again = call(*arguments, "--out", run)
    assert again.skipped == ["record", "estimate", "group", "retrain", "report"]
    assert time_plan(run) == plan


@pytest.mark.parametrize(
    ("typed", "minutes"), [("3", 3), ("30s", 0.5), ("1.5m", 1.5), ("10 min", 10), ("1H", 60)]
)
def test_a_time_is_in_minutes_or_has_a_unit(tmp_path, typed, minutes):
    config = tmp_path / "config.yaml"
    config.write_text(f"minutes: {typed}\nrace_minutes: {typed}\n")
    words = ["audit", "digits", "--time-limit", typed, "--config", str(config)]
    _, bound, _ = make_app().parse_args(words, exit_on_error=False, print_error=False)
    options = bound.arguments["options"]
    assert [options.time_limit, options.minutes, options.race_minutes] == [minutes] * 3


@pytest.mark.parametrize(
    "wrong",
    [*(["--time-limit", text] for text in ("0", "-3", "soon", "1:30", "3x")), ["--max-rows", "0"]],
)
def test_wrong_limits_are_refused(call, csv, wrong):
    assert call("audit", csv, *TARGETS, *wrong)[0] == 2


def test_a_continued_run_trains_as_its_time_plan_says(call, csv, tmp_path, monkeypatch):
    seen = []

    def stop(_, problem, *__, **___):
        seen.append(problem.settings.epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr("affinity.cli.run.Run.seconds_for_recording", lambda _: None)
    monkeypatch.setattr("affinity.cli.stages.retrain.retrain", stop)
    arguments = [*TARGETS, "--measure-every", "2", "--width", "8", "--time-limit", "0.01"]
    for _ in range(2):
        assert call("audit", csv, *arguments, "--out", tmp_path / "run").exit_code == 130
    assert seen == [8, 8]
