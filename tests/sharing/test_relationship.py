"""Relationship networks recover planted covariances, and pull related tasks together."""

import numpy as np
import pytest
import torch
from codes import raises
from torch import nn

from affinity.estimates import TaskRelationships
from affinity.problems import Problem
from affinity.sharing import RelationshipNetwork, flip_flop
from affinity.sharing.relationship import _proximal
from affinity.tasks import Examples, Replicate, RSquared, SquaredError, Task
from affinity.training import TrainingSettings, train

TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in "abcd")
RELATED = torch.tensor(
    [[1.0, 0.9, 0.0, -0.8], [0.9, 1.0, 0.0, -0.8], [0.0, 0.0, 1.0, 0.0], [-0.8, -0.8, 0.0, 1.0]]
)


def planted_weights(n_features: int, seed: int = 0) -> torch.Tensor:
    """Weights ``[task feature]`` whose covariance over tasks is `RELATED`."""
    noise = torch.randn(4, n_features, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.cholesky(RELATED) @ noise


def linear_network(n_features: int, **settings: float) -> RelationshipNetwork:
    torch.manual_seed(0)
    return RelationshipNetwork(
        TASKS, nn.Identity, lambda _: nn.Linear(n_features, 1, bias=False), **settings
    )


def linear_rows(weights: torch.Tensor, count: int, seed: int, noise: float) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, weights.shape[1], generator=generator)
    targets = inputs @ weights.T
    return Examples(inputs, targets + noise * torch.randn(targets.shape, generator=generator))


def test_flip_flop_recovers_the_covariance_over_tasks() -> None:
    covariances = flip_flop(planted_weights(400)[:, None])
    assert covariances[0].numpy() == pytest.approx(RELATED.numpy(), abs=0.12)


def test_flip_flop_recovers_all_three_covariances() -> None:
    features = 0.7 ** (torch.arange(12)[:, None] - torch.arange(12)).abs().float()
    outputs = torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.0], [0.0, 0.0, 1.0]])
    noise = torch.randn(4, 3, 12, generator=torch.Generator().manual_seed(1))
    factors = [torch.linalg.cholesky(c) for c in (RELATED, outputs, features)]
    weights = torch.einsum("at,bc,de,tce->abd", *factors, noise)
    planted = (RELATED, outputs, features)
    for found, expected, least in zip(flip_flop(weights), planted, (0.9, 0.75, 0.6), strict=True):
        off_diagonal = ~torch.eye(len(expected), dtype=torch.bool)
        assert np.corrcoef(found[off_diagonal], expected[off_diagonal])[0, 1] > least


def test_the_prior_s_step_is_the_closed_form() -> None:
    weights, covariances = torch.randn(2, 3, 4), [torch.eye(2) + 0.5, torch.eye(3), torch.eye(4)]
    covariances[2][0, 1] = covariances[2][1, 0] = 0.3
    whole = torch.kron(torch.kron(covariances[0], covariances[1]), covariances[2])
    system = torch.eye(24) + 0.7 * torch.linalg.inv(whole)
    expected = torch.linalg.solve(system, weights.flatten()).view(2, 3, 4)
    torch.testing.assert_close(_proximal(weights, covariances, 0.7), expected)


def test_a_trained_network_recovers_how_linear_tasks_covary() -> None:
    weights = planted_weights(40)
    parts = [linear_rows(weights, count, seed, 0.3) for seed, count in enumerate((200, 100, 100))]
    network = linear_network(40)
    train(
        network,
        TASKS,
        Replicate(0, *parts),
        TrainingSettings(epochs=60, batch_size=50, learning_rate=0.03),
    )
    found = network.task_correlations().numpy()
    planted = np.corrcoef(weights.numpy())
    assert found == pytest.approx(planted, abs=0.2)


def test_related_tasks_with_few_rows_gain() -> None:
    weights = planted_weights(40)
    parts = [linear_rows(weights, count, seed, 2.0) for seed, count in enumerate((60, 200, 500))]
    settings = TrainingSettings(epochs=100, batch_size=30, learning_rate=0.03, patience=20)

    def test_loss(strength: float) -> float:
        result = train(linear_network(40, strength=strength), TASKS, Replicate(0, *parts), settings)
        return sum(result.test_loss[name] for name in "abd")

    assert test_loss(0.3) < 0.9 * test_loss(0.0)


def test_tasks_with_heads_of_other_shapes_are_not_related() -> None:
    network = RelationshipNetwork(
        TASKS, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 2 if task.name == "c" else 1)
    )
    correlations = network.task_correlations()
    assert correlations[0, 1] == 0
    assert correlations[0, 2].isnan()


def test_every_linear_layer_of_the_heads_has_a_prior() -> None:
    torch.manual_seed(0)
    network = RelationshipNetwork(
        TASKS,
        nn.Identity,
        lambda _: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)),
        every=1,
    )
    with torch.no_grad():
        for head in network.heads:
            head[0].weight.copy_(network.heads[0][0].weight)  # alike below, unrelated above
    last = torch.stack([head[2].weight.detach().clone() for head in network.heads])
    network.after_step(learning_rate=1.0)
    torch.testing.assert_close(network.covariance_0_T, flip_flop(last, rounds=1)[0])
    below = network.covariance_1_T
    assert (below[0, 1:] / below[0, 0]).min() > 0.7
    torch.testing.assert_close(
        network.task_correlations()[0, 1],
        network.covariance_0_T[0, 1]
        / (network.covariance_0_T[0, 0] * network.covariance_0_T[1, 1]).sqrt(),
    )


def test_bad_settings_are_refused() -> None:
    with raises("invalid-strength"):
        linear_network(2, strength=-1.0)
    with raises("out-of-range"):
        linear_network(2, every=0)
    with raises("head-does-not-fit"):
        RelationshipNetwork(TASKS, nn.Identity, lambda _: nn.Identity())


def test_the_estimator_recovers_clusters_of_linear_tasks() -> None:
    weights = planted_weights(40)
    problem = Problem(
        "linear",
        TASKS,
        linear_rows(weights, 400, 0, 0.3),
        linear_rows(weights, 50, 1, 0.3),
        nn.Identity,
        lambda _: nn.Linear(40, 1, bias=False),
        settings=TrainingSettings(epochs=40, batch_size=50, learning_rate=0.03),
    )
    matrix = TaskRelationships(runs=2)(problem)
    assert matrix.between("a", "b") > 0.5
    assert matrix.between("a", "d") < -0.4
    assert abs(matrix.between("a", "c")) < 0.3
    assert matrix.standard_error is not None
