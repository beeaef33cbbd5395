"""Every way to share in the registry can be planned, trained, saved, loaded and reported."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from codes import raises

import affinity
from affinity import Audit, Grouping, Network, Plan, Problem, TrainingSettings
from affinity.problems.strength import STRENGTHS
from affinity.sharing import SHARINGS

every_sharing = pytest.mark.parametrize("sharing", SHARINGS)


@pytest.fixture(scope="module")
def problem() -> Problem:
    settings = TrainingSettings(epochs=1, batch_size=256)
    return affinity.load_digits(width=8).with_settings(settings)


def plan_of(problem: Problem, sharing: str) -> Plan:
    first, second, *others = problem.names
    groups = (Network.of(first, second), Network.of(*others))
    return Plan(Grouping(groups), (sharing, "hard"), ("", ""))


@every_sharing
def test_a_plan_names_it_in_yaml(problem: Problem, sharing: str) -> None:
    plan = plan_of(problem, sharing)
    assert Plan.from_yaml(plan.to_yaml(), tasks=problem.names) == plan


@every_sharing
@pytest.mark.usefixtures("blank_pictures")
def test_an_audit_of_it_is_saved_loaded_and_reported(
    problem: Problem, sharing: str, tmp_path: Path
) -> None:
    audit = affinity.retrain(plan_of(problem, sharing), problem, replicates=2, baselines=())
    assert torch.as_tensor(audit.gains.overall()).isfinite().all()
    again = affinity.load(affinity.save(audit, tmp_path / "audit.safetensors"))
    assert isinstance(again, Audit)
    assert again.plan == audit.plan
    gains = torch.as_tensor(audit.gains.overall())
    assert torch.equal(torch.as_tensor(again.gains.overall()), gains)
    affinity.write_report(again, tmp_path / "report.html")
    assert SHARINGS[sharing].label in (tmp_path / "report.html").read_text()
    summary = json.loads(again.to_json())
    assert [network["sharing"] for network in summary["networks"]] == [sharing, "hard"]


@every_sharing
def test_only_separate_serves_a_task_alone(problem: Problem, sharing: str) -> None:
    networks = (Network.of(problem.names[0]),)
    if SHARINGS[sharing].allows_one_task:
        assert Plan(Grouping(networks), (sharing,), ("",)).sharing == ("separate",)
    else:
        with pytest.raises(affinity.InputError):
            Plan(Grouping(networks), (sharing,), ("",))


@pytest.mark.usefixtures("blank_pictures")
def test_settings_of_a_way_are_kept_and_checked(problem: Problem, tmp_path: Path) -> None:
    plan = plan_of(problem, "mmoe")
    plan = replace(plan, settings=({"n_experts": 3, "shared_layers": 1}, {}))
    assert Plan.from_yaml(plan.to_yaml(), tasks=problem.names) == plan
    audit = affinity.retrain(plan, problem, replicates=2, baselines=())
    again = affinity.load(affinity.save(audit, tmp_path / "audit.safetensors"))
    assert again.plan == plan
    networks = json.loads(again.to_json())["networks"]
    assert networks[0]["settings"] == {"n_experts": 3, "shared_layers": 1}
    assert audit.gates[0].utilization.shape[2] == 3
    affinity.write_report(again, tmp_path / "report.html")
    assert "n_experts 3" in (tmp_path / "report.html").read_text()
    with raises("unknown-setting"):
        replace(plan, settings=({"n_expert": 3}, {}))
    with raises("invalid-plan"):
        Plan.from_yaml(plan.to_yaml().replace("n_experts: 3", "n_experts: 0"))


def test_the_strength_of_soft_sharing_enters_the_audited_plan(problem: Problem) -> None:
    audit = affinity.retrain(plan_of(problem, "soft"), problem, replicates=2, baselines=())
    assert audit.plan.settings[0]["strength"] in STRENGTHS
    given = replace(plan_of(problem, "soft"), settings=({"strength": 0.25}, {}))
    audit = affinity.retrain(given, problem, replicates=2, baselines=())
    assert audit.plan.settings[0] == {"strength": 0.25}


def test_a_plan_refuses_other_ways(problem: Problem) -> None:
    with raises("unknown-sharing"):
        plan_of(problem, "welded")
