"""The command that compares objectives: of a table, and of the folder of a run."""

import json

import pytest

OBJECTIVES = ("--objectives", "weighted")


def test_a_run_gets_a_table_a_file_and_a_section_of_its_page(call, run):
    compare = ("compare-objectives", run, *OBJECTIVES, "--replicates", "2")
    outcome = call(*compare)
    assert outcome.exit_code == 0, outcome.text
    summary = json.loads((run / "objectives.json").read_text())
    assert [entry["name"] for entry in summary["objectives"]] == ["sum", "weighted"]
    assert summary["n_replicates"] == 2
    assert call(*compare).skipped == ["objectives"]
    assert json.loads(call(*compare, "--json", "--quiet").text) == summary
    retrain = ("--replicates", "2", "--baselines", "minimal", "--no-reference")
    assert call("retrain", run, *retrain).exit_code == 0
    assert call("report", run).exit_code == 0
    assert 'id="objectives"' in (run / "report.html").read_text()


def test_a_table_starts_a_run(call, csv, tmp_path):
    out = tmp_path / "out"
    data = ("--target", "sum", "--target", "thirds", "--epochs", "2", "--width", "4")
    arguments = (*data, *OBJECTIVES, "--replicates", "1", "--out", out)
    outcome = call("compare-objectives", csv, *arguments)
    assert outcome.exit_code == 0, outcome.text
    assert (out / "objectives.json").exists()


@pytest.mark.parametrize(
    ("error", "options"),
    [
        ("settings-of-run", ("--width", "4")),
        ("settings-of-run", ("--target", "sum")),
        ("unknown-objective", ("--objectives", "sum,product")),
        ("nothing-shared", ("--plan", "separate")),
    ],
)
def test_what_does_not_fit_is_refused(call, run, error, options):
    outcome = call("compare-objectives", run, *options)
    assert (outcome.exit_code, outcome.error) == (2, error)
