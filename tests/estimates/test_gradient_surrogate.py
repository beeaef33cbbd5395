"""The linearized network of the gradient surrogate: exact where the network is linear."""

import pytest
import torch
from codes import raises
from torch import nn
from torch.func import grad, jacrev

from affinity import TrainingSettings
from affinity.estimates import GradientSurrogate
from affinity.estimates.sparse_projection import SparseProjection
from affinity.problems import planted
from affinity.tasks import (
    BinaryCrossEntropy,
    CrossEntropy,
    Examples,
    PoissonDeviance,
    RSquared,
    SquaredError,
    Task,
)

NAMES = ("one", "two", "three")


class Linear(nn.Module):
    """Every task is predicted by the same linear function: nothing but shared weights."""

    def __init__(self, n_outputs=1):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, n_outputs, bias=False)

    def forward(self, inputs):
        return dict.fromkeys(NAMES, self.layer(inputs))


def examples(targets_of, n_rows=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n_rows, 4, generator=generator)
    weights = torch.randn(4, 3, generator=generator)
    targets = targets_of(inputs @ weights + 0.3 * torch.randn(n_rows, 3, generator=generator))
    return Examples(inputs, targets)


def squares(group, rows, start, strength):
    """The exact ridge solution of the group's rows, around where the network stands."""
    x = rows.inputs.double()
    normal, right = strength * torch.eye(4).double(), torch.zeros(4).double()
    for name in group:
        y = rows.targets[:, NAMES.index(name)].double()
        known = ~y.isnan()
        normal += 2 * x[known].T @ x[known] / known.sum()
        right += 2 * x[known].T @ (y - x @ start)[known] / known.sum()
    return start + torch.linalg.solve(normal, right)


@pytest.mark.parametrize("group", [("one",), ("one", "three"), NAMES])
def test_of_a_linear_model_it_is_the_exact_ridge_regression(group):
    tasks = [Task(name, SquaredError(), RSquared()) for name in NAMES]
    training, judging = examples(lambda y: y), examples(lambda y: y, n_rows=40, seed=1)
    training.targets[::3, 2] = torch.nan
    judging.targets[::2, 0] = torch.nan
    network = Linear()
    surrogate = GradientSurrogate(dimensions=None, ridge=0.1)
    found = surrogate.linearize(network, tasks, training, judging).losses(group)
    weights = squares(group, training, network.layer.weight[0].detach().double(), 0.1)
    for name in group:
        error = judging.inputs.double() @ weights - judging.targets[:, NAMES.index(name)]
        assert found[name] == pytest.approx(error.square().nanmean().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "n_outputs", "targets_of"),
    [
        (BinaryCrossEntropy(), 1, lambda y: (y > 0).float()),
        (CrossEntropy(), 3, lambda y: y.clamp(-1, 1).round() + 1),
        (PoissonDeviance(), 1, lambda y: y.exp().round()),
        (lambda p, t: nn.functional.huber_loss(p[:, 0], t), 1, lambda y: 3 * y),
    ],
)
def test_statistics_are_the_derivatives_of_the_loss_by_the_weights(loss, n_outputs, targets_of):
    task = Task("one", loss, RSquared(), n_outputs=n_outputs)
    rows, network = examples(targets_of), Linear(n_outputs)
    rows = Examples(rows.inputs, rows.targets[:, :1])
    surrogate = GradientSurrogate(dimensions=None, ridge=0.01)
    statistics = surrogate.linearize(network, [task], rows, rows).training
    x, y = rows.inputs.double(), rows.targets[:, 0].double()

    def loss_at(weights):
        return loss(x @ weights.view(n_outputs, 4).T, y)

    start = network.layer.weight.detach().double().flatten()
    torch.testing.assert_close(statistics.losses[0], loss_at(start), rtol=1e-5, atol=1e-6)
    for values, exact in (
        (statistics.gradients[0], grad(loss_at)(start)),
        (statistics.curvatures[0], jacrev(jacrev(loss_at))(start)),
    ):
        torch.testing.assert_close(values, exact, rtol=1e-4, atol=1e-5)


def test_tasks_with_one_function_help_each_other_and_opposites_harm():
    tasks = [Task(name, SquaredError(), RSquared()) for name in NAMES]

    def alike_and_opposite(y):
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
        return y[:, :1] * torch.tensor([1.0, 1.0, -1.0]) + 2 * noise

    training = examples(alike_and_opposite, n_rows=15)
    judging = examples(alike_and_opposite, n_rows=400)
    judging = Examples(judging.inputs[200:], judging.targets[200:])
    matrix = (
        GradientSurrogate(dimensions=None, ridge=1e-3)
        .linearize(Linear(), tasks, training, judging)
        .matrix()
    )
    assert matrix.between("two", "one") > 0.02
    assert matrix.between("three", "one") < -0.05
    assert (matrix.values.diagonal() == 0).all()


def test_a_projection_keeps_inner_products():
    weights = {"a": torch.zeros(30, 10), "b": torch.zeros(())}
    gradients = {"a": torch.randn(6, 30, 10), "b": torch.randn(6)}
    batch = list(gradients.values())
    whole = SparseProjection(weights, None)(batch)
    exact = whole @ whole.T
    products = [SparseProjection(weights, 200, seed)(batch) for seed in range(40)]
    mean = torch.stack([each @ each.T for each in products]).mean(dim=0)
    torch.testing.assert_close(mean, exact, rtol=0, atol=0.05 * exact.diagonal().max().item())


def test_a_problem_is_trained_and_its_groups_are_predicted():
    problem = planted(n_clusters=2, tasks_per_cluster=2, n_rows=120).with_settings(
        TrainingSettings(epochs=3, batch_size=32)
    )
    linearized = GradientSurrogate(dimensions=20)(problem)
    scores = linearized.predict([("a1", "a2"), ("a1", "b1", "b2")])
    assert [len(candidate.trained) for candidate in scores.candidates] == [1, 1, 1, 1, 2, 3]
    assert all(score == score for each in scores.candidates for score in each.scores.values())
    table = linearized.mean(torch.tensor([[True, True, False, False], [True, False, True, True]]))
    for row, candidate in zip(table, scores.candidates[-2:], strict=True):
        gains = dict(zip(scores.tasks, row.tolist(), strict=True))
        assert {name: gains[name] for name in candidate.trained} == dict(candidate.scores)
    with raises("unknown-task"):
        linearized.losses(["x"])
    with raises("no-tasks"):
        linearized.losses([])


def test_each_task_is_fitted_on_as_many_of_its_rows_as_are_wanted():
    rows = examples(lambda predictions: predictions, n_rows=50)
    rows.targets[:40, 1] = torch.nan
    tasks = [Task(name, SquaredError(), RSquared()) for name in NAMES]
    few = GradientSurrogate(dimensions=3, rows=8).linearize(Linear(), tasks, rows, rows)
    assert min(few.training.n_labels.tolist()) >= 8
    assert few.training.n_labels[0] < 20
    every = GradientSurrogate(dimensions=3, rows=None).linearize(Linear(), tasks, rows, rows)
    assert every.training.n_labels.tolist() == [50, 10, 50]


def test_a_task_without_labels_is_refused():
    rows = examples(lambda predictions: predictions)
    rows.targets[:, 1] = torch.nan
    tasks = [Task(name, SquaredError(), RSquared()) for name in NAMES]
    with raises("no-labels"):
        GradientSurrogate().linearize(Linear(), tasks, rows, rows)


def test_settings_out_of_range_are_told():
    with raises("invalid-setting"):
        GradientSurrogate(rows=0)
    with raises("invalid-setting"):
        GradientSurrogate(dimensions=0)
