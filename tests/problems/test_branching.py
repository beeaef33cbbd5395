"""Branching: all networks leave the same young network, and go on by themselves."""

from dataclasses import replace

import pytest
import torch
from codes import raises

from affinity.audit import Race
from affinity.problems import Branching, load_digits, train_networks
from affinity.training import GradNorm, Initialization, TrainingSettings

PROBLEM = load_digits(width=8).with_settings(
    TrainingSettings(epochs=10, batch_size=256, patience=10)
)
NETWORKS = [frozenset({"odd"}), frozenset({"ink", "odd"}), frozenset(PROBLEM.names)]


def test_a_branch_is_a_training_from_the_young_network():
    replicate = PROBLEM.replicate(0)
    branches = Branching(after=0.2, epochs=0.1)(PROBLEM, NETWORKS, replicate)
    young = train_networks(
        PROBLEM, NETWORKS[2:], [replicate], replace(PROBLEM.settings, epochs=2), keep=True
    )
    state = young.trained[0][0].state
    assert state is not None
    numbers = sorted(PROBLEM.names.index(name) for name in ("odd", "ink"))
    start = {name: value for name, value in state.items() if not name.startswith("heads.")}
    for new, old in enumerate(numbers):
        prefix = f"heads.{old}."
        for name, value in state.items():
            if name.startswith(prefix):
                start[f"heads.{new}.{name.removeprefix(prefix)}"] = value
    by_hand = train_networks(
        PROBLEM,
        [NETWORKS[1]],
        [replicate],
        replace(PROBLEM.settings, epochs=1),
        starts={NETWORKS[1]: Initialization(start)},
    )
    torch.testing.assert_close(
        branches.evaluation_loss[1], by_hand.evaluation_loss[0], equal_nan=True, rtol=1e-4, atol=0
    )
    fresh = train_networks(PROBLEM, NETWORKS, [replicate], replace(PROBLEM.settings, epochs=1))
    assert branches.evaluation_loss.nansum() < fresh.evaluation_loss.nansum()


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_shares_out_of_range_are_refused(share: float):
    with raises("invalid-share"):
        Branching(epochs=share)


def test_objectives_that_need_each_network_by_itself_are_refused_and_raced_without_branches():
    problem = PROBLEM.with_settings(TrainingSettings(epochs=1, objective=GradNorm()))
    with raises("unsupported-objective"):
        Branching()(problem, NETWORKS, problem.replicate(0))


@pytest.mark.slow
def test_a_race_with_branches_on_digits():
    raced = Race(budget=3, trainings=16, branches=20, branching=Branching())(PROBLEM)
    assert raced.branches == 20
    assert "predictor: branches" in raced.variances
