"""Numbers of every type and size: complex, double, half, default types, too large and too small."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from codes import raises, warns
from torch import Tensor, nn
from torch.nn.utils import parametrize

from affinity.recording import Recorder

TASKS = ("a", "b")


class Fourier(nn.Module):
    """A layer with a complex weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.3 * torch.randn(inputs, outputs, dtype=torch.complex64))

    def forward(self, inputs: Tensor) -> Tensor:
        return (torch.fft.fft(inputs) @ self.weight).abs()


class Network(nn.Module):
    """Two heads, whose losses are multiplied by `scale`."""

    def __init__(self, trunk: nn.Module | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.trunk = trunk or nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(8, 1) for task in TASKS})
        self.scale = scale

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.trunk(inputs)
        return {
            task: self.scale * (head(hidden) - 1).square().mean()
            for task, head in self.heads.items()
        }


@contextmanager
def default_type(dtype: torch.dtype) -> Generator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def gramian_by_hand(losses: dict[str, Tensor], shared: list[nn.Parameter]) -> Tensor:
    rows: list[Tensor] = []
    for loss in losses.values():
        parts = torch.autograd.grad(loss, shared, retain_graph=True)
        real = [torch.view_as_real(part) if part.is_complex() else part for part in parts]
        rows.append(torch.cat([part.double().flatten() for part in real]))
    return torch.stack(rows) @ torch.stack(rows).T


def check(network: Network, inputs: Tensor, **settings: Any) -> Recorder:
    """Compare a measurement with gradients in double precision, and the run before and after."""
    recorder = Recorder(network, "trunk", every=1, lookahead_every=1, **settings)
    losses = network(inputs)
    before = [each.clone() for each in network.state_dict().values()]
    recorder.observe(losses, closure=lambda: network(inputs))
    assert all(map(torch.equal, before, network.state_dict().values()))
    gramians = recorder.trace().gramians
    assert gramians is not None
    right = gramian_by_hand(losses, list(network.trunk.parameters()))
    assert torch.allclose(gramians[0].double() / right.abs().max(), right / right.abs().max())
    return recorder


@pytest.mark.parametrize("settings", [{}, {"layers": 1}, {"level": "last layer"}, {"memory": 1}])
def test_products_of_complex_gradients_are_real(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.SGD((network := Network(Fourier(6, 8))).parameters(), lr=0.01)
    check(network, torch.randn(8, 6), optimizer=optimizer, **settings)


def test_products_of_complex_gradients_are_sketched_without_bias() -> None:
    torch.manual_seed(0)
    network, inputs = Network(Fourier(6, 8)), torch.randn(8, 6)
    recorder = Recorder(network, "trunk", sketch=4000)
    recorder.observe(losses := network(inputs))
    gramians = recorder.trace().gramians
    assert gramians is not None
    right = gramian_by_hand(losses, list(network.trunk.parameters()))
    assert (gramians[0] - right).abs().max() < 0.1 * right.abs().max()


def test_a_double_network_is_recorded_in_double_precision() -> None:
    torch.manual_seed(0)
    network, inputs = Network(), torch.randn(8, 6, dtype=torch.double)
    recorder = Recorder(network, "trunk", lookahead_every=1, learning_rate=1e-9)
    network.double()  # only now, as a trainer does
    recorder.observe(network(inputs), closure=lambda: network(inputs))
    trace = recorder.trace()
    assert trace.predicted is not None
    assert not trace.predicted.any()  # single precision would have lost the step in rounding
    assert trace.first_order_error() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("settings", [{}, {"layers": 1}])
def test_the_default_type_does_not_matter(dtype: torch.dtype, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network, inputs = Network(), torch.randn(8, 6)
    with default_type(dtype):
        trace = check(network, inputs, **settings).trace()
        recorder = Recorder(network, "trunk", sketch=2)
        recorder.observe(network(inputs))
    assert trace.gramians is not None
    assert trace.gramians.dtype == torch.float32
    assert recorder.trace().gramians is not None


def test_the_default_device_does_not_matter() -> None:
    torch.manual_seed(0)
    network, inputs = Network(), torch.randn(8, 6)
    with torch.device("meta"):
        recorders = [Recorder(network, "trunk", sketch=count) for count in (0, 2)]
        for recorder in recorders:
            recorder.observe(network(inputs), closure=lambda: network(inputs))
    assert all(recorder.trace().steps.tolist() == [0] for recorder in recorders)


@pytest.mark.parametrize("n_rows", [2, 64])  # few rows: inner products from factors
@pytest.mark.parametrize("scale", [1e22, 1e-24])
def test_losses_may_be_of_any_size(scale: float, n_rows: int) -> None:
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Linear(6, 80), nn.Tanh(), nn.Linear(80, 8)), scale)
    inputs = torch.randn(n_rows, 6)
    trace = check(network, inputs, learning_rate=0.1 / scale).trace()
    cosines = trace.gramians[0] / trace.gradient_norms()[0].outer(trace.gradient_norms()[0])  # pyright: ignore
    assert cosines.isfinite().all()
    assert trace.gramians is not None
    assert trace.gramians.dtype == torch.float64


def test_a_gradient_that_is_not_finite_is_missing_with_a_warning() -> None:
    network, inputs = Network(), torch.randn(8, 6)
    losses = network(inputs)
    losses["a"] = losses["a"] + (0 * losses["b"]).sqrt()  # its gradient is NaN
    recorder = Recorder(network, "trunk")
    with warns("gradient-not-finite"):
        recorder.observe(losses)
    gramians = recorder.trace().gramians
    assert gramians is not None
    assert gramians.isnan().tolist() == [[[True, True], [True, False]]]


@pytest.mark.parametrize("n_rows", [2, 64])  # few rows: inner products from factors
def test_gradients_below_the_range_of_float16_are_not_lost(n_rows: int) -> None:
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Linear(6, 80), nn.Tanh(), nn.Linear(80, 8)), 1e-6)
    inputs = torch.randn(n_rows, 6)

    def losses() -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.float16):
            return network(inputs)

    recorder = Recorder(network, "trunk")
    recorder.observe(losses())
    gramians = recorder.trace().gramians
    assert gramians is not None
    right = gramian_by_hand(network(inputs), list(network.trunk.parameters()))
    assert torch.allclose(gramians[0].double() / right.max(), right / right.max(), atol=0.01)


def test_a_complex_loss_is_refused() -> None:
    network = Network()
    losses = {task: loss + 0j for task, loss in network(torch.randn(8, 6)).items()}
    with raises("no-scalar"):
        Recorder(network, "trunk").observe(losses)


def test_a_lookahead_sees_its_step_where_parametrizations_are_cached() -> None:
    torch.manual_seed(0)
    trunk = nn.utils.parametrizations.weight_norm(nn.Linear(6, 8))
    network, inputs = Network(trunk), torch.randn(8, 6)

    def lookahead() -> Tensor:
        recorder = Recorder(network, "trunk", lookahead_every=1, learning_rate=0.1)
        recorder.observe(network(inputs), closure=lambda: network(inputs))
        losses = recorder.trace().lookahead_losses
        assert losses is not None
        return losses

    with parametrize.cached():
        cached = lookahead()
        assert trunk.weight is trunk.weight  # still cached
    assert torch.equal(cached, lookahead())
