"""Every entry of a registry is named on the command line, trained, saved, loaded and reported."""

import json
from itertools import cycle

import pandas as pd
import pytest
import torch
from markupsafe import escape

import affinity
from affinity import AffinityMatrix, Audit, InputError
from affinity.estimates import ESTIMATORS, NEED_HELD_OUT, NEED_OPTIMIZER_STEPS
from affinity.fewshot.compare_methods import METHODS
from affinity.grouping import SOLVERS
from affinity.training.objectives import OBJECTIVES
from affinity.training.sampling import SAMPLINGS
from affinity.transfer import RECIPES

TARGETS = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]
QUICK = [*TARGETS, "--epochs", "2", "--width", "4", "--replicates", "2"]
AUDIT = ["--plan", "all-in-one", "--baselines", "minimal", "--no-reference"]
QUICKLY = ("pcgrad", "minimax")


@pytest.mark.parametrize(
    ("objective", "sampling"),
    [
        pytest.param(name, sampling, marks=() if name in QUICKLY else pytest.mark.slow)
        for name, sampling in zip(OBJECTIVES, cycle(SAMPLINGS), strict=False)
    ],
)
def test_objectives_and_samplings_of_tasks(call, csv, tmp_path, objective, sampling):
    if objective in ("pcgrad", "mgda"):
        pytest.importorskip("torchjd", reason="TorchJD is an extra: pip install torchjd")
    run = tmp_path / "run"
    ways = ["--objective", objective, "--task-sampling", sampling]
    outcome = call("audit", csv, *QUICK, "--measure-every", "1", *AUDIT, *ways, "--out", run)
    assert outcome.exit_code == 0, outcome.text
    audit = affinity.load(run / "measurements.safetensors")
    assert isinstance(audit, Audit)
    assert json.loads(audit.to_json()) == json.loads((run / "audit.json").read_text())
    assert audit.context.settings["objective"] == objective
    assert audit.context.settings["sampling"] == sampling
    page = (run / "report.html").read_text()
    assert objective in page
    assert sampling in page


@pytest.mark.slow
@pytest.mark.parametrize("needs", [NEED_HELD_OUT, NEED_OPTIMIZER_STEPS, ()])
def test_estimators(call, csv, tmp_path, needs):
    special = NEED_HELD_OUT | NEED_OPTIMIZER_STEPS
    names = list(needs) or [name for name in ESTIMATORS if name not in special]
    run, recorded_for = tmp_path / "run", ["--measure-every", "1", "--estimator", names[0]]
    assert call("audit", csv, *QUICK, *AUDIT, *recorded_for, "--out", run).exit_code == 0
    for name in names:
        assert call("estimate", run, "--estimator", name).exit_code == 0
        matrix = AffinityMatrix.from_frame(pd.read_csv(run / "affinity.csv"))
        assert matrix.tasks == ("sum", "sign, of y", "thirds")
        again = affinity.load(affinity.save(matrix, tmp_path / "matrix.safetensors"))
        assert torch.equal(again.values.nan_to_num(), matrix.values.nan_to_num())
        assert call("report", run).exit_code == 0
        assert escape(repr(ESTIMATORS[name]())) in (run / "report.html").read_text()


def test_an_estimator_that_a_run_was_not_recorded_for_is_refused(call, run):
    for name in NEED_HELD_OUT | NEED_OPTIMIZER_STEPS:
        assert call("estimate", run, "--estimator", name).error == "missing-in-trace"


def test_solvers_give_plans(run, tmp_path):
    matrix = AffinityMatrix.from_frame(pd.read_csv(run / "affinity.csv"))
    for name in SOLVERS:
        grouping = affinity.solve(matrix, budget=2, solver=name)
        ways = ["hard" if len(network.served) > 1 else "separate" for network in grouping.networks]
        plan = affinity.Plan(grouping, tuple(ways), ("",) * len(ways))
        assert affinity.load(affinity.save(plan, tmp_path / "plan.yaml")) == plan
    with pytest.raises(InputError):
        affinity.solve(matrix, budget=2, solver="guess")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(call, csv, tmp_path, name):
    few = ["--from", "sum", "--to", "thirds", "--recipe", name, "--out", tmp_path / "run"]
    outcome = call("transfer", csv, *QUICK, "--epochs", "3", *few)
    assert outcome.exit_code == 0, outcome.text
    kept = json.loads((tmp_path / "run/transfer.json").read_text())
    assert (kept["recipe"], len(kept["pairs"])) == (name, 1)
    assert name in (tmp_path / "run/transfer.html").read_text()


@pytest.mark.usefixtures("quick_baselines")
def test_few_shot_methods(call, tmp_path):
    few = ["--iterations", "2", "--batch", "4", "--tasks", "4", "--steps", "1", "--shots", "1"]
    outcome = call(
        "fewshot", "digits", *few, "--methods", ",".join(METHODS), "--out", tmp_path / "run"
    )
    assert outcome.exit_code == 0, outcome.text
    result = affinity.load(tmp_path / "run/fewshot.safetensors")
    assert {row.method for row in result.rows()} == set(METHODS)
    page = (tmp_path / "run/fewshot.html").read_text()
    assert all(name in page for name in METHODS)
