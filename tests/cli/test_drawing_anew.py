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
    assert [draw["gain"] for draw in found["draws"]] == pytest.approx(
        [audit["overall"]["gain"] for audit in audits]
    )
    assert audits[0]["tasks"][0]["loss"] != audits[1]["tasks"][0]["loss"]
    code, said = call(*arguments)  # goes on where it was stopped
    assert code == 0
    assert said.count("The audit is there") == 2


@pytest.mark.parametrize(
    ("options", "said_so"),
    [
        (["--outer", "1"], "at least 2 draws"),
        (["--outer", "3", "--split-column", "thirds"], "split column 'thirds' decides"),
        (["--outer", "3", "--time-column", "w"], "time column 'w' decides"),
    ],
)
def test_what_cannot_be_drawn_anew_is_told_before_anything_is_trained(call, csv, options, said_so):
    code, said = call("audit", csv, *TARGETS, *options)
    assert code == 2
    assert said_so in " ".join(said.split())
