"""Results are saved and loaded as the objects that they were, and summarized for JSON."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from codes import raises
from made_up_diagnoses import change_of, diagnosis_of

import affinity
from affinity import Audit, Diagnosis, Plan, Problem, RaceResult, TrainingSettings, retrain
from affinity.audit import AuditSummary, RepeatedHoldout
from affinity.audit.causes import CauseResult
from affinity.storage import json_schema, to_jsonable
from affinity.tasks import Task


def clipped_error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (prediction[:, 0] - target).square().clamp(max=4).mean()


def closeness(prediction: torch.Tensor, target: torch.Tensor) -> float:
    return -float((prediction[:, 0] - target).abs().mean())


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Digits, with the user's own loss and metric for the last task."""
    settings = TrainingSettings(epochs=1, batch_size=512)
    digits = affinity.load_digits(width=4, depth=1).with_settings(settings)
    *others, last = digits.tasks
    return replace(digits, tasks=(*others, Task(last.name, clipped_error, closeness)))


@pytest.fixture(scope="module")
def audit(problem: Problem) -> Audit:
    plan = Plan.all_in_one(problem.names)
    return retrain(plan, problem, replicates=2, baselines=(), keep=True)


def test_an_audit_with_the_users_own_loss_and_metric_is_saved(audit: Audit, tmp_path: Path) -> None:
    again = affinity.load(affinity.save(audit, tmp_path / "audit.safetensors"))
    assert isinstance(again, Audit)
    assert again.summary() == audit.summary()
    assert (again.tasks[-1].loss, again.tasks[-1].metric) == ("clipped_error", "closeness")
    assert again.context == audit.context
    torch.testing.assert_close(again.gains.score_blocks, audit.gains.score_blocks, equal_nan=True)


def test_kept_networks_are_saved_with_the_audit(audit: Audit, tmp_path: Path) -> None:
    again = affinity.load(affinity.save(audit, tmp_path / "audit.safetensors"))
    (network,), (saved,) = audit.networks_of("plan", 1), again.networks_of("plan", 1)
    assert saved.state is not None
    torch.testing.assert_close(saved.state, network.state)
    with raises("networks-not-kept"):
        replace(audit, networks={}).networks_of("plan")


def test_a_repeated_holdout_is_saved(audit: Audit, tmp_path: Path) -> None:
    holdout = RepeatedHoldout((replace(audit, networks={}),) * 3, 0.25)
    again = affinity.load(affinity.save(holdout, tmp_path / "holdout.safetensors"))
    assert isinstance(again, RepeatedHoldout)
    assert again.summary() == holdout.summary()


def test_a_diagnosis_is_saved(tmp_path: Path) -> None:
    wide = CauseResult("capacity", ("seen",), (change_of("wide", 0.45, cost=4.0),))
    diagnosis = diagnosis_of(wide, CauseResult("data", skipped=("why",)))
    again = affinity.load(affinity.save(diagnosis, tmp_path / "diagnosis.safetensors"))
    assert isinstance(again, Diagnosis)
    assert again.summary() == diagnosis.summary()
    assert np.array_equal(again.evaluation_harm, diagnosis.evaluation_harm)


@pytest.mark.slow
def test_a_race_is_saved(problem: Problem, tmp_path: Path) -> None:
    result = affinity.Race(budget=2, trainings=9)(problem)
    again = affinity.load(affinity.save(result, tmp_path / "race.safetensors"))
    assert isinstance(again, RaceResult)
    assert again.candidates == result.candidates
    assert again.to_plan() == result.to_plan()
    losses = (again.measured.evaluation_loss, result.measured.evaluation_loss)
    torch.testing.assert_close(*losses, rtol=0, atol=0, equal_nan=True)


def test_the_summary_follows_its_schema_and_has_the_keys_that_scripts_read(audit: Audit) -> None:
    summary = json.loads(audit.to_json())
    jsonschema.validate(summary, json_schema(AuditSummary))
    assert {"gain", "verdict"} <= set(summary["overall"])
    assert summary["advice"] == audit.advice
    first = summary["tasks"][0]
    assert first["name"] == audit.tasks[0].name
    assert {"verdict", "gain", "metric"} <= set(first)
    assert set(first["metric"]) == set(audit.candidates)
    assert summary["context"]["rows"]["test"] > 0
    assert to_jsonable(audit.summary()) == summary
