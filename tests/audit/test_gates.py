"""What gates chose is kept with the audit, and costs a network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from affinity import Audit, Plan, Problem, TrainingSettings, retrain
from affinity.audit import Gates
from affinity.problems import planted


@pytest.fixture(scope="module")
def problem() -> Problem:
    settings = TrainingSettings(epochs=1, batch_size=128)
    return planted(n_clusters=1, tasks_per_cluster=2, n_rows=300, n_features=6).with_settings(
        settings
    )


@pytest.fixture(scope="module")
def audit(problem: Problem) -> Audit:
    plan = replace(Plan.all_in_one(problem.names), sharing=("mmoe",))
    return retrain(plan, problem, replicates=2, baselines=())


def made_up(*polarized: tuple[bool, bool], identical: tuple[bool, ...]) -> Gates:
    n_replicates = len(polarized)
    return Gates(
        tasks=("depth", "edges"),
        utilization=torch.full((n_replicates, 2, 4), 0.25),
        entropy=torch.ones(n_replicates, 2),
        polarized=torch.tensor(polarized),
        identical=torch.tensor(identical),
    )


def test_an_audit_keeps_what_the_gates_of_its_mixtures_chose(audit: Audit) -> None:
    (gates,) = audit.gates
    assert gates is not None
    assert gates.tasks == tuple(task.name for task in audit.tasks)
    assert gates.utilization.shape == (2, len(audit.tasks), 4)
    torch.testing.assert_close(gates.utilization.sum(dim=2), torch.ones(2, len(audit.tasks)))
    assert not audit.networks  # only scores and gates are kept


def test_networks_that_share_hard_have_no_gates(problem: Problem) -> None:
    audit = retrain(Plan.separate(problem.names), problem, replicates=1, baselines=())
    assert set(audit.gates) == {None}


def test_the_networks_costs_add_up_to_the_arrangements(audit: Audit) -> None:
    for arrangement in audit.candidates.values():
        assert sum(cost.parameters for cost in arrangement.costs) == arrangement.parameters
        assert sum(cost.multiply_adds for cost in arrangement.costs) == arrangement.multiply_adds


def test_gates_and_costs_are_read_back_as_they_were_saved(audit: Audit, tmp_path: Path) -> None:
    again = Audit.load(audit.save(tmp_path / "audit.safetensors"))
    assert again.summary() == audit.summary()
    assert again.candidates["plan"].costs == audit.candidates["plan"].costs


def test_half_of_the_replicates_make_a_fault() -> None:
    fine = made_up((True, False), (False, False), (False, False), identical=(True, False, False))
    assert fine.fault is None
    flags = ((True, False), (False, False), (False, False), (True, False))
    bad = made_up(*flags, identical=(True, False, False, False))
    assert bad.often_polarized == {"depth": 2}
    assert bad.fault == "the gate of depth takes one expert on 2 of 4 replicates"
    alike = made_up((False, False), identical=(True,))
    assert alike.fault == "experts are the same on 1 of 1 replicate"
