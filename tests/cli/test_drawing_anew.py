"""`affinity audit --outer`: other test rows, everything decided anew."""

import json

import pytest

QUICK = ["--epochs", "2", "--replicates", "2", "--every", "4", "--width", "4"]
TARGETS = ["--target", "sum", "--target", "sign, of y"]


def test_every_draw_has_a_run_and_the_procedure_is_judged(call, csv, tmp_path):
    out = tmp_path / "run"
    arguments = ["audit", csv, *TARGETS, *QUICK, "--baselines", "few", "--out", out, "--outer", "2"]
    code, said = call(*arguments)
    assert code == 0, said
    assert "Deciding anew on each of 2 draws" in said
    found = json.loads((out / "outer.json").read_text())
    audits = [json.loads((run / "audit.json").read_text()) for run in (out, out / "draws/2")]
    assert [split["gain"] for split in found["splits"]] == pytest.approx(
        [audit["overall"]["gain"] for audit in audits]
    )
    assert audits[0]["tasks"][0]["loss"] != audits[1]["tasks"][0]["loss"]
    page = (out / "report.html").read_text()
    assert 'id="test-splits"' in page
    said = " ".join(call("compare", out, out / "draws/2")[1].split())
    as_planned = found["as_plan"]
    assert f"A, over 2 draws of the test rows: as planned {as_planned['verdict']}" in said
    assert f"{as_planned['gain']:+.1%} ({as_planned['low']:+.1%}" in said
    assert "One of them alone has other draws of the test rows" in said
    said = call("compare", out, out, "--json")[1]
    both = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert both["outer"] == [found, found]
    code, said = call(*arguments)  # goes on where it was stopped
    assert code == 0
    assert said.count("The audit is there") == 2


@pytest.mark.parametrize(
    ("options", "said_so"),
    [
        (["--outer", "1"], "at least 2 draws"),
        (["--outer", "3", "--split-column", "thirds"], "split column 'thirds' says which"),
    ],
)
def test_what_cannot_be_drawn_anew_is_told_before_anything_is_trained(call, csv, options, said_so):
    code, said = call("audit", csv, *TARGETS, *options)
    assert code == 2
    assert said_so in " ".join(said.split())


def test_draws_of_a_series_are_windows_of_time_that_learn_from_what_was_known(call, csv, tmp_path):
    out = tmp_path / "run"
    options = ["--baselines", "few", "--plan", "separate", "--time-column", "w", "--outer", "2"]
    code, said = call("audit", csv, *TARGETS, *QUICK, *options, "--out", out)
    assert code == 0, said
    asked = [json.loads((run / "run.json").read_text())["what"] for run in (out, out / "draws/2")]
    assert [each["options"]["known"] for each in asked] == [None, 0.75]
    assert asked[0]["fingerprint"] != asked[1]["fingerprint"]
    assert json.loads((out / "outer.json").read_text())["plans"][0]["times"] == 2
