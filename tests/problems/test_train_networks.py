"""Measurements of networks of a problem."""

import math
from dataclasses import replace

import torch

from affinity.problems import load_digits
from affinity.problems.train_networks import train_networks
from affinity.training import TrainingSettings

SETTINGS = TrainingSettings(epochs=2, batch_size=256)


def test_losses_are_measured_where_trained_and_missing_elsewhere() -> None:
    problem = load_digits(width=4, depth=1)
    networks = [frozenset({"odd", "ink"}), frozenset(problem.names)]
    measured = train_networks(problem, networks, problem.replicates(2), SETTINGS)
    assert measured.networks == tuple(networks)
    assert measured.tasks == problem.names
    for values in (
        measured.test_loss,
        measured.validation_loss,
        measured.evaluation_loss,
        measured.test_metric,
    ):
        assert values.shape == (2, 2, 8)
        assert values[1].isfinite().all()
        trained = [name in networks[0] for name in problem.names]
        assert torch.equal(~values[0].isnan(), torch.tensor([trained, trained]))
    assert measured.parameters[1] - measured.parameters[0] == 6 * 5
    assert measured.seconds.shape == (2, 2)
    assert measured.diverged == ()


def test_a_network_is_trained_once() -> None:
    problem = load_digits(width=4, depth=1)
    odd = frozenset({"odd"})
    measured = train_networks(problem, [odd, odd], problem.replicates(1), SETTINGS)
    assert measured.networks == (odd,)


def test_a_training_that_diverged_is_told() -> None:
    problem = load_digits(width=4, depth=1)
    replicate = problem.replicate(0)
    replicate.training.targets[0, 0] = math.inf
    networks = [frozenset({"odd"}), frozenset({"prime"})]
    measured = train_networks(problem, networks, [replicate], SETTINGS)
    assert len(measured.diverged) == 1
    assert "'odd'" in measured.diverged[0]
    assert measured.test_loss[0, 0].isnan().all()
    assert math.isfinite(measured.test_loss[1, 0, 2])


def test_evaluation_rows_are_judged_like_test_rows() -> None:
    problem = load_digits(width=4, depth=1)
    replicate = problem.replicate(0)
    networks = [frozenset({"odd", "ink"}), frozenset({"prime", "loop"})]
    measured = train_networks(problem, networks, [replicate], SETTINGS)
    turned = replace(replicate, test=replicate.evaluation, evaluation=replicate.test)
    swapped = train_networks(problem, networks, [turned], SETTINGS)
    torch.testing.assert_close(swapped.test_loss, measured.evaluation_loss, equal_nan=True)
    torch.testing.assert_close(swapped.evaluation_loss, measured.test_loss, equal_nan=True)
    without = train_networks(problem, networks, [replace(replicate, evaluation=None)], SETTINGS)
    assert without.evaluation_loss.isnan().all()
