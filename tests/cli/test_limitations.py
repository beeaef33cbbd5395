"""Limitations of an audit are printed in the terminal, too, and nothing recorded is lost."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import affinity.problems.network_trainer as trainer
from affinity import Diagnosis, DivergenceError, Plan
from affinity.audit import Audit
from affinity.audit.causes import CauseResult, Intervention
from affinity.cli.summary import show_audit, show_diagnosis
from affinity.report import diagnosis_headline
from affinity.training import TrainedNetwork

QUICK = [
    "--epochs",
    "2",
    "--replicates",
    "2",
    "--measure-every",
    "2",
    "--width",
    "4",
    "--depth",
    "1",
]
FEW = ["--baselines", "minimal", "--plan", "separate"]
TARGETS = ["--target", "sum", "--target", "sign, of y"]


@pytest.fixture
def audited(call, csv, tmp_path):
    """The words of an audit of the table, and its folder."""

    def run(*options, targets=TARGETS):
        arguments = ["audit", csv, *targets, *QUICK, *FEW, *options, "--out", tmp_path / "run"]
        code, said = call(*arguments)
        return code, " ".join(said.split()), tmp_path / "run"

    return run


def test_one_replicate_is_said_to_give_no_intervals(audited):
    code, said, out = audited("--replicates", "1")
    assert code == 0
    assert "One replicate gives no intervals" in said
    page = (out / "report.html").read_text()
    assert 'data-code="few-replicates"' in page
    assert 'data-code="undecided-tasks"' not in page


def test_a_diagnosis_of_one_replicate_says_that_it_shows_nothing(capsys):
    recovered, plan = np.array([[0.2, 0.3]]), Plan.all_in_one(("a", "b"))
    changes = (Intervention("2 times the width", "widen", recovered, recovered, 2.0),)
    findings = (CauseResult("capacity", changes=changes),)
    found = Diagnosis("p", ("a", "b"), plan, (), -recovered, -recovered, findings)
    show_diagnosis(Console(width=200), found)
    said = capsys.readouterr().out
    assert diagnosis_headline(found) in said
    assert "95 % interval" not in said


def test_a_metric_that_one_class_leaves_undefined_is_named_with_its_task(audited, csv):
    table = pd.read_csv(csv)
    table["part"] = ["train"] * 200 + ["test"] * 40
    table.loc[200:, "sign, of y"] = "plus"
    table.to_csv(csv, index=False)
    code, said, out = audited("--split-column", "part")
    assert code == 0
    assert "The ROC AUC of task 'sign, of y' is missing: it is undefined" in said
    assert "The verdict rests on the loss." in said
    assert json.loads((out / "audit.json").read_text())["tasks"][1]["metric"]["plan"] is None
    assert 'data-code="undefined-metric"' in (out / "report.html").read_text()


@pytest.mark.filterwarnings("ignore:Most lookahead losses")  # three rows, four epochs
def test_more_tasks_than_test_rows_are_told(audited, csv):
    table = pd.read_csv(csv).iloc[:24]
    table.to_csv(csv, index=False)
    targets = [word for name in ("sum", "w", "x", "y") for word in ("--target", name)]
    code, said, _ = audited("--test-share", "0.125", "--epochs", "4", targets=targets)
    assert code == 0, said
    assert "There are more tasks (4) than test rows (3)" in said


def test_a_baseline_that_failed_to_train_is_told_and_the_rest_is_kept(audited, monkeypatch):
    train = trainer.train_each

    def failing(*arguments: Any, **settings: Any) -> list[TrainedNetwork]:
        return [
            replace(network, diverged="The loss of 'sum' became inf.")
            if len(network.tasks) == 2
            else network
            for network in train(*arguments, **settings)
        ]

    monkeypatch.setattr(trainer, "train_each", failing)
    code, said, out = audited()
    assert code == 0
    assert "'all-in-one' failed to train on 2 of 2 replicates" in said
    assert "'sum', 'sign, of y' are missing. A smaller learning rate may help." in said
    arrangements = json.loads((out / "audit.json").read_text())["candidates"]
    assert arrangements["all-in-one"]["gain"]["mean"] is None
    assert arrangements["plan"]["gain"]["mean"] == 0


def test_a_plan_that_failed_to_train_leaves_what_was_recorded(audited, monkeypatch):
    def diverge(*_, **__):
        raise DivergenceError("The loss of task 'sum' became nan at step 3.")

    monkeypatch.setattr("affinity.cli.stages.retrain.retrain", diverge)
    code, said, out = audited()
    assert code == 1
    assert "Error (diverged): The loss of task 'sum' became nan at step 3." in said
    assert (out / "trace.safetensors").exists()


def test_enormous_numbers_do_not_tear_the_table(audited, capsys):
    _, _, out = audited()
    audit = Audit.load(out / "measurements.safetensors")
    separate = audit.candidates["separate"]
    worse = replace(separate.metrics, scores=separate.metrics.scores - 1e60)
    spoilt = replace(
        audit, candidates=audit.candidates | {"separate": replace(separate, metrics=worse)}
    )
    show_audit(Console(width=80), spoilt)
    assert "-1e+60" in capsys.readouterr().out
