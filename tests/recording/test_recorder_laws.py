"""Laws of every recorder on every kind of network: the same run, and the Gramian by hand."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from affinity.errors import AffinityWarning
from affinity.recording import Recorder

TASKS = ("a", "b")
N_STEPS = 4


class Network(nn.Module):
    """A trunk with two heads; kinds of networks differ in the trunk and in what they keep."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk: nn.Module = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.heads = nn.ModuleDict({task: nn.Linear(6, 1) for task in TASKS})

    def inputs(self) -> Tensor:
        return torch.randn(8, 4)

    def forward(self, inputs: Tensor) -> Any:
        hidden = self.trunk(inputs)
        return {task: (self.heads[task](hidden) - 1).square().mean() for task in TASKS}

    def losses(self, inputs: Tensor) -> dict[str, Tensor]:
        return self(inputs)

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return losses["a"] + losses["b"]


class Normalized(Network):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())


class Dropped(Network):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Tanh())


class Tied(Network):
    """One weight in two layers of the trunk."""

    def __init__(self) -> None:
        super().__init__()
        first, second = nn.Linear(6, 6), nn.Linear(6, 6)
        second.weight = first.weight
        self.trunk = nn.Sequential(first, nn.Tanh(), second)

    def inputs(self) -> Tensor:
        return torch.randn(8, 6)


class Words(Network):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.EmbeddingBag(10, 6, sparse=True)

    def inputs(self) -> Tensor:
        return torch.randint(10, (8, 3))


class Mixture(Network):
    """Experts with an auxiliary loss that the module keeps, and a cache and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 2)
        self.calls, self.history = 0, [0.0]
        self.cache: dict[str, Tensor] = {}

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        share = self.gate(inputs).softmax(1)
        self.auxiliary = share.mean(0).square().sum()
        self.calls += 1
        self.history.append(self.auxiliary.item())
        self.cache["share"] = share.detach()
        return super().forward(inputs * share[:, :1])

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        return super().total(losses) + self.auxiliary + 0.01 * self.calls * losses["a"]


class Paired(Network):
    """Outputs are a tuple."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        losses = super().forward(inputs)
        return losses["a"], losses["b"]

    def losses(self, inputs: Tensor) -> dict[str, Tensor]:
        return dict(zip(TASKS, self(inputs), strict=True))


class Short(Network):
    """Weights in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.bfloat16()

    def inputs(self) -> Tensor:
        return torch.randn(8, 4).bfloat16()


NETWORKS: dict[str, Callable[[], Network]] = {
    "plain": Network,
    "batch norm": Normalized,
    "dropout": Dropped,
    "tied": Tied,
    "embedding bag": Words,
    "mixture": Mixture,
    "tuple": Paired,
    "bfloat16": Short,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "lookahead": {"lookahead_every": 1},
    "found": {"shared": None, "lookahead_every": 2},
    "representation": {"level": "representation"},
    "layers": {"layers": 2, "every": 2},
}


def sgd(network: Network) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.1)


def lbfgs(network: Network) -> torch.optim.Optimizer:
    return torch.optim.LBFGS(network.parameters(), lr=0.1, max_iter=2)


class Sam(torch.optim.SGD):
    """Sharpness-aware minimization: the gradient after a step towards a larger loss."""

    def step(self, closure: Any = None) -> Any:
        loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"]]
        steps = [None if p.grad is None else 0.05 * p.grad.clone() for p in parameters]
        self._move(parameters, steps, 1.0)
        closure()
        self._move(parameters, steps, -1.0)
        super().step()
        return loss

    def _move(self, parameters: list[Tensor], steps: list[Tensor | None], sign: float) -> None:
        with torch.no_grad():
            for parameter, step in zip(parameters, steps, strict=True):
                if step is not None:
                    parameter.add_(sign * step)


def sam(network: Network) -> torch.optim.Optimizer:
    return Sam(network.parameters(), lr=0.1)


@pytest.fixture(autouse=True)
def _without_notes() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AffinityWarning)
        yield


def train(
    make: Callable[[], Network],
    settings: dict[str, Any] | None,
    make_optimizer: Callable[[Network], torch.optim.Optimizer] = sgd,
    *,
    thaw: bool = False,
) -> list[Any]:
    """All that the run leaves behind."""
    torch.manual_seed(0)
    network = make()
    optimizer = make_optimizer(network)
    recorder = None
    if settings is not None:
        recorder = Recorder(network, **{"shared": "trunk", "every": 1, **settings})
    for step in range(N_STEPS):
        network.trunk.requires_grad_(not thaw or step >= 2)
        inputs = network.inputs()

        def evaluate(inputs: Tensor = inputs) -> Tensor:
            optimizer.zero_grad()
            losses = network.losses(inputs)
            if recorder is not None:
                recorder.observe(losses, lambda: network.losses(inputs))
            total = network.total(losses)
            total.backward()
            return total

        optimizer.step(evaluate)  # pyright: ignore[reportArgumentType]
    if recorder is not None:
        assert len(recorder.trace()) >= N_STEPS // 4
    kept = [vars(network).get(name) for name in ("calls", "history")]
    return [*network.state_dict().values(), torch.get_rng_state(), torch.tensor(0.0), *kept]


def are_equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_recorded_run_is_the_same_run(name: str, settings: str) -> None:
    pairs = zip(train(NETWORKS[name], None), train(NETWORKS[name], SETTINGS[settings]), strict=True)
    assert all(are_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("make_optimizer", [lbfgs, sam])
@pytest.mark.parametrize("name", ["plain", "batch norm", "mixture"])
def test_closures_that_are_called_several_times_leave_the_same_run(
    name: str, make_optimizer: Callable[[Network], torch.optim.Optimizer]
) -> None:
    settings = (None, SETTINGS["lookahead"])
    runs = [train(NETWORKS[name], each, make_optimizer) for each in settings]
    assert all(are_equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize("settings", ["lookahead", "found", "layers"])
def test_a_trunk_that_thaws_leaves_the_same_run(settings: str) -> None:
    runs = [train(Network, each, thaw=True) for each in (None, SETTINGS[settings])]
    assert all(are_equal(one, other) for one, other in zip(*runs, strict=True))


def test_scaled_losses_leave_the_same_run_and_unscaled_losses() -> None:
    def run(*, is_recorded: bool) -> tuple[list[Tensor], Recorder]:
        torch.manual_seed(0)
        network = Network()
        optimizer, scaler = sgd(network), torch.amp.GradScaler("cpu", init_scale=2.0**8)
        recorder = Recorder(network, "trunk", every=1, lookahead_every=1, optimizer=optimizer)
        for _ in range(N_STEPS):
            inputs = network.inputs()
            with torch.autocast("cpu", torch.bfloat16):
                losses = network.losses(inputs)
                if is_recorded:
                    recorder.observe(losses, lambda inputs=inputs: network.losses(inputs))
                total = network.total(losses)
            scaler.scale(total).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            if is_recorded:
                given = torch.stack([loss.detach().float() for loss in losses.values()])
                assert torch.equal(recorder.trace().losses[-1], given)
        return [*network.state_dict().values(), torch.get_rng_state()], recorder

    (plain, _), (recorded, recorder) = run(is_recorded=False), run(is_recorded=True)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))
    assert len(recorder.trace()) == N_STEPS


@pytest.mark.parametrize("name", NETWORKS)
def test_gramians_are_those_of_gradients_by_hand(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    losses = network.losses(network.inputs())
    for settings in SETTINGS.values():
        if "level" in settings:
            continue
        modules = [network.trunk]
        if "shared" in settings and isinstance(network, Mixture):
            modules.append(network.gate)  # both losses reach it, too
        shared = [parameter for module in modules for parameter in module.parameters()]
        rows = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses.values()]
        gradients = torch.stack(
            [torch.cat([part.to_dense().flatten().float() for part in row]) for row in rows]
        )
        recorder = Recorder(network, **{"shared": "trunk", "every": 1, **settings})
        recorder.observe(losses)
        gramian = recorder.trace().gramians
        assert gramian is not None
        assert torch.allclose(gramian[0], gradients @ gradients.T, rtol=1e-5, atol=1e-7)
