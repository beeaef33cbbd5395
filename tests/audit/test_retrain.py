"""Plans are measured network by network, each in its own way to share, all of one size."""

import pytest
import torch

from affinity import Grouping, Network, Plan, Problem, TrainingSettings, load_digits, retrain

SETTINGS = TrainingSettings(epochs=1, batch_size=256)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_digits(width=16).with_settings(SETTINGS)


def plan_of(problem: Problem, sharing: str) -> Plan:
    """The first two tasks share so, the others hard."""
    first, second, *others = problem.names
    networks = (Network.of(first, second), Network.of(*others))
    return Plan(Grouping(networks), (sharing, "hard"), ("", ""))


@pytest.mark.parametrize("sharing", ["soft", "mmoe", "cross-stitch", "separate"])
def test_a_network_costs_the_same_however_its_tasks_share(problem: Problem, sharing: str) -> None:
    hard, other = plan_of(problem, "hard"), plan_of(problem, sharing)
    audits = [retrain(plan, problem, replicates=1, baselines=()) for plan in (hard, other)]
    costs = [audit.candidates["plan"].parameters for audit in audits]
    assert costs[1] == pytest.approx(costs[0], rel=0.1)
    scores = [audit.gains.scores for audit in audits]
    assert torch.equal(scores[0][:, 2:], scores[1][:, 2:])
    assert not torch.equal(scores[0][:, :2], scores[1][:, :2])


def test_an_audit_keeps_networks_of_one_set_of_tasks_that_share_in_two_ways(
    problem: Problem,
) -> None:
    everything = Plan(Grouping((Network.of(*problem.names),)), ("mmoe",), ("",))
    audit = retrain(everything, problem, replicates=2, keep=True)
    mixed, hard = (audit.networks_of(name, 1)[0] for name in ("plan", "all-in-one"))
    assert mixed.state is not None
    assert hard.state is not None
    assert "gates.0.weight" in mixed.state
    assert "gates.0.weight" not in hard.state
    assert mixed.replicate == hard.replicate == 1
