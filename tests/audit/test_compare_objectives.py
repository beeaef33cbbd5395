"""Objectives compared on the same replicates: gains over separate networks and over the sum."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from codes import raises
from harmful_problems import narrow, one_loud
from torch import Tensor

import affinity
from affinity import Gains, Plan, TrainingSettings
from affinity.audit import ObjectiveComparison, ObjectivesSummary, compare_objectives
from affinity.audit.causes import by_loss_scale
from affinity.audit.compare_objectives import ObjectiveScores
from affinity.storage import json_schema
from affinity.training import OBJECTIVES, Weighted

TINY = TrainingSettings(epochs=2, batch_size=128)
TASKS = ("a", "b")


@pytest.fixture(scope="module")
def comparison() -> ObjectiveComparison:
    problem = narrow(200).with_settings(TINY)
    return compare_objectives(problem, None, {"weighted": Weighted((("t0", 4.0),))}, replicates=3)


def test_the_sum_gains_what_an_audit_measures(comparison: ObjectiveComparison) -> None:
    problem = narrow(200).with_settings(TINY)
    audit = affinity.retrain(Plan.all_in_one(problem.names), problem, 3, baselines=())
    total, weighted = comparison.scores
    np.testing.assert_allclose(total.test.scores, audit.gains.scores, rtol=1e-5)
    np.testing.assert_allclose(total.test.baseline, audit.gains.baseline, rtol=1e-5)
    verdict = comparison.overall["sum"]
    assert verdict.verdict == audit.overall.verdict
    assert (verdict.low, verdict.high) == pytest.approx(
        (audit.overall.low, audit.overall.high), abs=1e-6
    )
    assert not np.allclose(weighted.test.scores, total.test.scores)
    assert (comparison.over_sum("sum").overall() == 0).all()
    over_sum = comparison.over_sum("weighted").by_task()["t0"]
    means = [float(each.test.scores.mean(dim=0)[0]) for each in (weighted, total)]
    assert over_sum == pytest.approx(1 - means[0] / means[1])


@pytest.mark.usefixtures("blank_pictures")
def test_it_is_saved_loaded_written_and_reported(
    comparison: ObjectiveComparison, tmp_path: Path
) -> None:
    again = affinity.load(affinity.save(comparison, tmp_path / "objectives.safetensors"))
    assert isinstance(again, ObjectiveComparison)
    assert again.to_json() == comparison.to_json(tmp_path / "objectives.json")
    written = json.loads((tmp_path / "objectives.json").read_text())
    jsonschema.validate(written, json_schema(ObjectivesSummary))
    assert [entry["name"] for entry in written["objectives"]] == ["sum", "weighted"]
    assert written["objectives"][0]["times_sum"] == 1
    assert all(entry["milliseconds_per_step"] > 0 for entry in written["objectives"])
    assert comparison.frame()["objective"].tolist() == ["sum", "weighted"]
    problem = narrow(200).with_settings(TINY)
    audit = affinity.retrain(Plan.all_in_one(problem.names), problem, 2, baselines=())
    page = affinity.write_report(audit, tmp_path / "page.html", objectives=comparison).read_text()
    assert 'href="#objectives"' in page
    assert 'data-csv="weighted"' in page
    assert "#objectives" not in affinity.write_report(audit, tmp_path / "page.html").read_text()


def made_up(gain: float, noise: float, n_replicates: int = 6) -> ObjectiveComparison:
    """The sum and another objective that gains over it on selection rows."""
    wave = torch.tensor([1.0, -1.0]).repeat(n_replicates)[:n_replicates, None].expand(-1, 2)

    def scores(name: str, losses: Tensor) -> ObjectiveScores:
        gains = Gains(TASKS, losses, torch.ones(n_replicates, 2))
        worse = Gains(TASKS, 2 - losses, torch.ones(n_replicates, 2))  # must play no part
        return ObjectiveScores(name, name, worse, gains, 0.001)

    usual = torch.ones(n_replicates, 2)
    other = 1 - gain + noise * wave
    return ObjectiveComparison(
        "made up", Plan.all_in_one(TASKS), (scores("sum", usual), scores("gradnorm", other))
    )


@pytest.mark.parametrize(
    ("gain", "noise", "n_replicates", "advice"),
    [
        (0.1, 0.05, 6, "gradnorm"),
        (0.005, 0.0, 6, "sum"),  # within the tolerance
        (0.1, 0.5, 6, "sum"),  # within its error
        (-0.1, 0.05, 6, "sum"),
        (0.1, 0.0, 1, "sum"),  # one replicate shows nothing
        (math.nan, 0.0, 6, "sum"),  # diverged
    ],
)
def test_the_sum_is_kept_unless_another_gains_more_than_its_error(
    gain: float, noise: float, n_replicates: int, advice: str
) -> None:
    assert made_up(gain, noise, n_replicates).advice == advice


def test_an_objective_that_diverged_has_no_gain_and_no_verdict() -> None:
    diverged = made_up(math.nan, 0.0)
    scores = tuple(replace(each, diverged=6) for each in diverged.scores[1:])
    summary = replace(diverged, scores=(diverged.scores[0], *scores)).summary()
    assert summary.objectives[1].overall.gain is None
    assert summary.objectives[1].overall.verdict == "undecided"
    assert summary.objectives[1].diverged == 6


def test_bad_input_is_refused() -> None:
    problem = narrow(120).with_settings(TINY)
    with raises("nothing-shared"):
        compare_objectives(problem, Plan.separate(problem.names))
    with raises("different-tasks"):
        compare_objectives(problem, Plan.all_in_one(("x", "y")))
    with raises("no-replicates"):
        compare_objectives(problem, replicates=0)
    with raises("unknown-task"):
        compare_objectives(problem, objectives={"weighted": Weighted((("x", 1.0),))})


def test_weights_help_the_tasks_whose_losses_are_a_thousandth_of_another() -> None:
    problem = one_loud(400)
    weighted = Weighted(tuple(by_loss_scale(problem).items()))
    found = compare_objectives(problem, objectives={"weighted": weighted}, replicates=3)
    gains = found.over_sum("weighted").by_task()
    assert gains["t0"] < 0
    assert min(gains["t1"], gains["t2"]) > 0.3


@pytest.mark.slow  # networks are trained one by one, in processes
def test_every_objective_is_trained_and_pcgrad_costs_more_than_the_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = narrow(120).with_settings(TINY)
    found = compare_objectives(problem, replicates=1)
    assert {each.name for each in found.scores} == {*OBJECTIVES, "weighted"}
    assert all(math.isfinite(verdict.gain) for verdict in found.overall.values())
    cost = found.frame().set_index("objective")["times_sum"]
    assert cost["pcgrad"] > 1.5
    monkeypatch.setitem(__import__("sys").modules, "torchjd", None)
    found = compare_objectives(problem, objectives={"mgda": OBJECTIVES["mgda"]}, replicates=1)
    assert list(found.skipped) == ["mgda"]
    assert found.frame()["objective"].tolist() == ["sum"]


def refuse_missing(prediction: Tensor, target: Tensor) -> Tensor:
    """A user's own loss, which expects labels."""
    if bool(target.isnan().any()):
        raise RuntimeError("NaN among the labels")
    return (prediction.squeeze(-1) - target).square().mean()


def test_a_users_own_loss_never_meets_missing_labels() -> None:
    problem = narrow(200).with_settings(TINY)
    rows = problem.development
    targets = rows.targets.clone()
    targets[::3, 0] = torch.nan
    problem = replace(
        problem,
        tasks=tuple(replace(task, loss=refuse_missing) for task in problem.tasks),
        development=replace(rows, targets=targets),
    )
    (scores,) = compare_objectives(problem, objectives={}, replicates=2).scores
    assert scores.seconds_per_step > 0
    assert scores.diverged == 0
