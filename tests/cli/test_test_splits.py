"""`affinity audit --test-splits`: the whole audit repeated on other test rows."""

import json

import pytest

QUICK = ["--epochs", "2", "--replicates", "2", "--measure-every", "4", "--width", "4"]
TARGETS = ["--target", "sum", "--target", "sign, of y"]


def test_every_split_has_a_run_and_the_procedure_is_judged(call, csv, tmp_path):
    out = tmp_path / "run"
    arguments = ["audit", csv, *TARGETS, *QUICK, "--baselines", "minimal", "--out", out]
    arguments += ["--test-splits", "2"]
    outcome = call(*arguments)
    assert outcome.exit_code == 0, outcome.text
    holdout = json.loads((out / "test_splits.json").read_text())
    folders = (out, out / "test_splits/2")
    audits = [json.loads((folder / "audit.json").read_text()) for folder in folders]
    assert [split["gain"] for split in holdout["splits"]] == pytest.approx(
        [audit["overall"]["gain"] for audit in audits]
    )
    assert audits[0]["tasks"][0]["loss"] != audits[1]["tasks"][0]["loss"]
    assert 'id="test-splits"' in (out / "report.html").read_text()
    assert holdout["as_plan"]["verdict"] in outcome.words
    compared = call("compare", *folders, "--json").json
    assert compared["test_splits"] == [holdout, None]
    again = call(*arguments)  # continues where it was stopped
    assert again.exit_code == 0
    assert again.skipped.count("retrain") == 2


def test_test_splits_and_a_split_column_exclude_each_other(call, csv):
    options = ["--test-splits", "3", "--split-column", "thirds"]
    assert call("audit", csv, *TARGETS, *options).error == "fixed-test-split"
    assert call("audit", csv, *TARGETS, "--test-splits", "1").error == "usage"


def test_splits_of_a_time_series_are_windows_that_learn_from_what_was_known(call, csv, tmp_path):
    out = tmp_path / "run"
    options = ["--baselines", "minimal", "--plan", "separate", "--time-column", "w"]
    options += ["--test-splits", "2", "--out", out]
    outcome = call("audit", csv, *TARGETS, *QUICK, *options)
    assert outcome.exit_code == 0, outcome.text
    records = [json.loads((run / "run.json").read_text()) for run in (out, out / "test_splits/2")]
    assert [record["settings"]["known_share"] for record in records] == [None, 0.75]
    assert records[0]["fingerprint"] != records[1]["fingerprint"]
    assert json.loads((out / "test_splits.json").read_text())["plans"][0]["times"] == 2
