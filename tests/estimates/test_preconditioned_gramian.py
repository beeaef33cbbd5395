"""The preconditioned Gramian against matrices that are inverted by brute force."""

import torch
from codes import raises
from torch import nn

from affinity import GradientCosine, Recorder
from affinity.estimates import PreconditionedGramian

TASKS = ("a", "b", "c")


def recorded(layers):
    """A trace of a small network in double precision, and each task's gradient per layer."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    heads = nn.ModuleDict({task: nn.Linear(2, 1) for task in TASKS}).double()
    inputs = torch.randn(8, 3).double()
    losses = {task: heads[task](trunk(inputs)).square().mean() for task in TASKS}
    gradients = {}
    for task, loss in losses.items():
        parts = torch.autograd.grad(loss, list(trunk.parameters()), retain_graph=True)
        gradients[task] = [torch.cat([part.flatten() for part in parts[i : i + 2]]) for i in (0, 2)]
    recorder = Recorder(shared=trunk, every=1, layers=layers)
    recorder.observe(losses)
    by_layer = [torch.stack([gradients[task][layer] for task in TASKS]) for layer in (0, 1)]
    return recorder.trace(), by_layer if layers else [torch.cat(by_layer, dim=1)]


def brute_force(gradients, damping):
    fisher = gradients.T @ gradients / len(gradients)
    eye = torch.eye(len(fisher)).double()
    strength = damping * gradients.square().sum(dim=1).mean()
    return gradients @ torch.linalg.solve(fisher + strength * eye, gradients.T)


def test_it_is_the_product_with_the_inverted_matrix_per_layer():
    for layers in (None, 1):
        trace, by_layer = recorded(layers)
        for damping in (0.1, 1.0, 10.0):
            expected = sum(brute_force(gradients, damping) for gradients in by_layer)
            values = PreconditionedGramian(damping)(trace).values
            torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)


def test_with_a_large_damping_it_has_the_direction_of_the_gramian():
    trace, _ = recorded(None)
    values = PreconditionedGramian(1e8)(trace).values
    gramian = trace.gramians[0].double()
    torch.testing.assert_close(values / values.norm(), gramian / gramian.norm())
    scale = values.diagonal().sqrt()
    torch.testing.assert_close(values / scale[:, None] / scale, GradientCosine()(trace).values)


def test_a_layer_without_gradients_adds_nothing():
    trace, _ = recorded(1)
    trace.layer_gramians[:, 1] = 0
    one = PreconditionedGramian(layer=trace.layers[0])(trace).values
    torch.testing.assert_close(PreconditionedGramian()(trace).values, one)


def test_a_damping_that_inverts_nothing_is_refused():
    with raises("out-of-range"):
        PreconditionedGramian(0.0)
