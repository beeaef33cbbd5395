"""Inner products in factors are those of the gradients, and used only where they are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from codes import raises
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from affinity.recording import Recorder
from affinity.recording.factored_gradients import FactoredGradients, linear_layers

TASKS, ROWS, WIDTH = ("a", "b", "c"), 4, 16


class Wide(nn.Module):
    """Linear layers with fewer rows than inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.heads = nn.ModuleDict({task: nn.Linear(WIDTH, 1) for task in TASKS})

    def representation(self, inputs: Tensor) -> Tensor:
        return self.trunk(inputs)

    def losses(self, shared: Tensor) -> dict[str, Tensor]:
        return {task: (head(shared) - 1).square().mean() for task, head in self.heads.items()}

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return self.losses(self.representation(inputs))


class Tied(Wide):
    """The last task multiplies by the first layer's weight once more."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        shared = self.representation(inputs)
        again = nn.functional.linear(shared, self.trunk[0].weight)
        return {**self.losses(shared), "c": again.square().mean()}


class Checkpointed(Wide):
    def representation(self, inputs: Tensor) -> Tensor:
        return checkpoint(self.trunk, inputs, use_reentrant=False)


class Hooked(Wide):
    """A gradient is changed on its way into the last weight."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk[2].weight.register_hook(_doubled)


def _doubled(gradient: Tensor) -> Tensor:
    return 2 * gradient


_doubled.__module__ = "torch"  # of a library: no warning


class Deep(Wide):
    """Rows on two axes; the last layer has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk[2] = nn.Linear(WIDTH, WIDTH, bias=False)

    def representation(self, inputs: Tensor) -> Tensor:
        return self.trunk(inputs.unflatten(0, (2, 2))).flatten(0, 1)


class Apart(Wide):
    """The last task reaches the last layer alone; the second has no label in the batch."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        losses = super().forward(inputs)
        last: Tensor = self.trunk[2](self.trunk[0](inputs).detach())
        return {**losses, "b": 0 * losses["b"], "c": self.heads["c"](last).square().mean()}


MODELS: dict[str, tuple[Callable[[], Wide], list[int]]] = {
    "wide": (Wide, [0, 2]),
    "tied": (Tied, [2]),
    "checkpointed": (Checkpointed, []),
    "hooked": (Hooked, [0]),
    "deep": (Deep, [0]),
    "apart": (Apart, [0]),
}
"""A model, and which of its shared parameters have gradients in factors."""


def whole_gradients(model: Any, losses: dict[str, Tensor]) -> Tensor:
    shared = [*model.trunk.parameters()]
    rows = [
        torch.autograd.grad(loss, shared, retain_graph=True, materialize_grads=True)
        for loss in losses.values()
    ]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).double()


@pytest.mark.parametrize("name", MODELS)
def test_factors_give_the_inner_products_of_the_gradients(name: str) -> None:
    make, places = MODELS[name]
    model, inputs = make(), torch.randn(ROWS, WIDTH)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    sum(model(inputs).values(), torch.tensor(0.0)).backward()
    optimizer.step()
    optimizer.zero_grad()
    losses = model(inputs)
    shared = [*model.trunk.parameters()]
    assert sorted(linear_layers([*losses.values()], shared, len(TASKS))) == places
    recorder = Recorder(model, "trunk", layers=2, optimizer=optimizer)
    recorder.observe(losses)
    trace = recorder.trace()
    assert trace.gramians is not None
    assert trace.layer_gramians is not None
    assert trace.momentum_products is not None
    gradients = whole_gradients(model, losses)
    gradients = gradients.where(gradients.any(1, keepdim=True), torch.nan)  # without labels
    momentum = torch.cat([optimizer.state[p]["momentum_buffer"].flatten() for p in shared]) / 2
    for measured, expected in {
        trace.gramians[0]: gradients @ gradients.T,
        trace.layer_gramians.sum(1)[0]: gradients @ gradients.T,
        trace.momentum_products[0]: gradients @ momentum.double(),
    }.items():
        assert torch.allclose(measured.double(), expected, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_many_rows_are_left_to_gradients() -> None:
    model = Wide()
    losses = [*model(torch.randn(8 * ROWS, WIDTH)).values()]
    assert not linear_layers(losses, [*model.trunk.parameters()], len(TASKS))


def test_factors_keep_to_the_memory_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    traces, calls = [], []
    products = FactoredGradients.inner_products
    monkeypatch.setattr(
        FactoredGradients,
        "inner_products",
        lambda *arguments: calls.append(1) or products(*arguments),
    )
    inputs = torch.randn(ROWS, WIDTH)
    for memory in (10**6, 10**3):
        model = Wide()
        recorder = Recorder(model, "trunk", memory=memory)
        recorder.observe(model(inputs))
        traces.append(recorder.trace())
    assert len(calls) == 1
    assert torch.allclose(traces[0].gramians, traces[1].gramians, rtol=1e-5)


def test_a_backward_pass_after_factors_is_the_same() -> None:
    inputs, gradients = torch.randn(ROWS, WIDTH), []
    for is_recorded in (False, True):
        model = Wide()
        losses = model(inputs)
        if is_recorded:
            Recorder(model, "trunk").observe(losses)
        sum(losses.values(), torch.tensor(0.0)).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


def test_a_freed_graph_is_refused() -> None:
    model = Wide()
    losses = model(torch.randn(ROWS, WIDTH))
    sum(losses.values(), torch.tensor(0.0)).backward()
    with raises("freed-graph"):
        Recorder(model, "trunk").observe(losses)


def test_a_lookahead_forms_gradients_from_factors() -> None:
    inputs, traces, model = torch.randn(ROWS, WIDTH), [], Wide()
    for memory in (10**6, 10**3):  # with factors, and without
        recorder = Recorder(model, "trunk", memory=memory, lookahead_every=1, learning_rate=0.1)
        recorder.observe(model(inputs), lambda: model(inputs))
        traces.append(recorder.trace())
    for name in ("gramians", "lookahead_losses"):
        one, other = (getattr(trace, name) for trace in traces)
        assert torch.allclose(one, other, rtol=1e-5), name
