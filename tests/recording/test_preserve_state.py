import gc
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from codes import raises, warns
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from affinity.recording import Recorder
from affinity.recording.shared_parameters import Shared

N_STEPS = 6


class Network(nn.Module):
    """A trunk with BatchNorm and dropout under two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 8)
        )
        self.a = nn.Linear(8, 1)
        self.b = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return self.losses(self.trunk(inputs))

    def losses(self, representation: Tensor) -> dict[str, Tensor]:
        return {
            "a": self.a(representation).square().mean(),
            "b": (self.b(representation) - 1).abs().mean(),
        }


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Parameters, buffers, gradients, optimizer state and random state."""
    state = [
        value
        for entry in optimizer.state_dict()["state"].values()
        for value in entry.values()
        if isinstance(value, Tensor)
    ]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    of_numpy = np.random.get_state()[1].astype(int)  # noqa: NPY002
    random_states = torch.get_rng_state(), torch.from_numpy(of_numpy)
    return [*model.state_dict().values(), *gradients, *state, *random_states]


def batches(n: int = N_STEPS) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(7)
    for _ in range(n):
        yield torch.randn(16, 5, generator=generator)


@dataclass(frozen=True)
class Run:
    """One way to train, as users do."""

    make: Callable[[], nn.Module] = Network
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = adamw
    accumulate: int = 1
    clip: float | None = None
    autocast: bool = False
    scaler: bool = False
    shared: Shared = "trunk"

    def __call__(
        self, settings: dict[str, Any] | None = None, *, held_out: bool = False
    ) -> tuple[list[Tensor], Recorder | None]:
        """Train; with settings, under a recorder."""
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        model = self.make()
        optimizer = self.optimizer(model)
        scaler = torch.amp.GradScaler("cpu", enabled=self.scaler)
        recorder = None
        if settings is not None:
            recorder = Recorder(
                model, **{"shared": self.shared, "every": 2, "optimizer": optimizer, **settings}
            )

        def losses_on(batch: Tensor) -> dict[str, Tensor]:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                return model(batch)

        for number, batch in enumerate(batches()):
            losses = losses_on(batch)
            if recorder is not None:
                recorder.observe(
                    losses,
                    closure=lambda batch=batch: losses_on(batch),
                    held_out=(lambda batch=batch: losses_on(-batch)) if held_out else None,
                )
            total = sum(losses.values(), torch.tensor(0.0)) / self.accumulate
            scaler.scale(total).backward()
            if (number + 1) % self.accumulate == 0:
                if self.clip is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                scaler.step(optimizer)
                scaler.update()
                if number + 1 < N_STEPS:
                    optimizer.zero_grad()
        return everything(model, optimizer), recorder


class Noisy(Network):
    """Augments its inputs with an odd number of normal numbers, which NumPy makes in pairs."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        noise = np.random.randn(5)  # noqa: NPY002
        return super().forward(inputs + torch.from_numpy(noise).float())


class Checkpointed(Network):
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        representation = checkpoint(self.trunk, inputs, use_reentrant=False)
        return self.losses(representation)


class Tied(Network):
    """The second head multiplies by a weight of the trunk."""

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        representation = self.trunk(inputs)
        tied = nn.functional.linear(representation, self.trunk[4].weight)
        return {**self.losses(representation), "b": (tied - 1).abs().mean()}


def partly_frozen() -> nn.Module:
    model = Network()
    model.trunk[0].requires_grad_(requires_grad=False)
    return model


def frozen() -> nn.Module:
    model = Network()
    model.trunk.requires_grad_(requires_grad=False)
    return model


def compiled(backend: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        torch._dynamo.reset()
        return torch.compile(Network(), backend=backend)

    return make


RUNS = {
    "batch norm, dropout, AdamW": Run(),
    "Adam": Run(optimizer=adam),
    "momentum": Run(optimizer=momentum),
    "noise of NumPy": Run(make=Noisy),
    "accumulation": Run(accumulate=3),
    "clipping": Run(clip=0.1),
    "bf16 autocast": Run(autocast=True),
    "scaler": Run(scaler=True, clip=0.1),
    "checkpointing": Run(make=Checkpointed),
    "tied weights": Run(make=Tied),
    "partly frozen": Run(make=partly_frozen),
    "frozen trunk, tuned head": Run(make=frozen, shared=["a", "b"]),
    "compiled": Run(make=compiled("aot_eager")),
}

MEASUREMENTS: dict[str, dict[str, Any]] = {
    "default": {},
    "found": {"shared": None},
    "every lookahead, optimizer step, layers": {
        "lookahead_every": 1,
        "step": "optimizer",
        "layers": 2,
    },
    "sketch": {"sketch": 3, "lookahead_every": 1},
    "representation": {"level": "representation"},
    "last layer": {"level": "last layer", "sources": 1},
    "lookahead alone": {"gramians": False},
    "little memory": {"memory": 1, "lookahead_every": 1},
}


def assert_same(run: Run, settings: dict[str, Any], *, held_out: bool = False) -> None:
    plain, _ = run()
    recorded, recorder = run(settings, held_out=held_out)
    assert recorder is not None
    trace = recorder.trace()
    assert len(trace) == N_STEPS // 2
    measured = trace.lookahead_losses if trace.gramians is None else trace.gramians
    assert measured is not None
    assert measured.isfinite().any()
    assert len(plain) == len(recorded)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_is_the_same_run(name: str) -> None:
    is_coarse = name == "bf16 autocast"
    with warns("lookahead-below-precision") if is_coarse else nullcontext():
        assert_same(RUNS[name], {"lookahead_every": 1})


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_no_measurement_changes_a_run(name: str) -> None:
    assert_same(Run(), MEASUREMENTS[name])


def test_a_held_out_batch_changes_no_run() -> None:
    assert_same(Run(), {"lookahead_every": 1}, held_out=True)


@pytest.mark.parametrize("settings", [{}, {"sketch": 3}, {"gramians": False}])
def test_a_held_out_micro_batch_changes_no_run(settings: dict[str, Any]) -> None:
    settings = {"held_out": "micro-batch", "lookahead_every": 1, **settings}
    assert_same(Run(accumulate=2), settings)


needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a compiler")


@pytest.mark.slow
@needs_compiler
def test_a_run_compiled_by_inductor_without_donated_buffers_is_the_same_run() -> None:
    from torch._functorch import config
    from torch._inductor.utils import fresh_cache

    with config.patch(donated_buffer=False), fresh_cache():
        assert_same(Run(make=compiled("inductor")), {"lookahead_every": 1})


@pytest.mark.slow
@needs_compiler
def test_graphs_of_inductor_that_cannot_be_kept_are_refused() -> None:
    from torch._functorch import config
    from torch._inductor.utils import fresh_cache

    run = Run(make=compiled("inductor"))
    with fresh_cache():
        run()  # fills the cache with graphs that reuse their buffers
        with raises("donated-buffers"):
            run({})
        with (
            config.patch(donated_buffer=False),
            raises("overwritten-graph"),
        ):
            run({})


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_run_on_a_gpu_is_the_same_run() -> None:
    assert_same(Run(make=lambda: Network().cuda()), {"lookahead_every": 1})


def test_reentrant_checkpoints_are_refused() -> None:
    class Reentrant(Network):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            return self.losses(checkpoint(self.trunk, inputs, use_reentrant=True))

    model = Reentrant()
    recorder = Recorder(model, "trunk")
    with raises("reentrant-checkpoint"):
        recorder.observe(model(torch.randn(4, 5, requires_grad=True)))


class Overwriting(torch.autograd.Function):
    """A product whose backward pass changes what it saved."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        ctx.kept = inputs.detach().clone()
        return inputs.square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0] * ctx.kept.mul_(0.5)


class Freeing(Overwriting):
    """A product whose backward pass frees what it saved."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        kept, ctx.kept = ctx.kept, None
        return 2 * gradients[0] * kept


class Kept(Overwriting):
    """A product that may be differentiated again."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0] * ctx.kept


@pytest.mark.parametrize("shared", ["trunk", None])
@pytest.mark.parametrize("function", [Overwriting, Freeing])
def test_functions_that_can_be_differentiated_once_are_refused(
    function: type[torch.autograd.Function], shared: Shared
) -> None:
    model = Network()
    recorder = Recorder(model, shared)
    with raises("overwritten-graph"):
        recorder.observe(model.losses(function.apply(model.trunk(torch.randn(4, 5)))))


def test_functions_of_the_users_own_are_recorded() -> None:
    model = Network()
    recorder = Recorder(model, "trunk")
    recorder.observe(model.losses(Kept.apply(model.trunk(torch.randn(4, 5)))))
    assert len(recorder.trace()) == 1


def test_nothing_is_kept_alive() -> None:
    model = Network()
    recorder = Recorder(model, "trunk", every=1, lookahead_every=1)
    (batch,) = batches(1)
    losses = model(batch)
    recorder.observe(losses, closure=lambda: model(batch))
    graph = weakref.ref(losses["a"])
    del losses
    assert graph() is None


def test_memory_does_not_grow_over_a_thousand_steps() -> None:
    model = nn.ModuleDict({"trunk": nn.Linear(200, 200), "a": nn.Linear(200, 1)})
    model["b"] = nn.Linear(200, 1)
    recorder = Recorder(model, "trunk", every=10, lookahead_every=1)
    inputs = torch.randn(8, 200)

    def losses() -> dict[str, Tensor]:
        return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}

    def live_tensors() -> int:
        gc.collect()
        return sum(
            each.numel() for each in gc.get_objects() if issubclass(type(each), torch.Tensor)
        )

    counts: list[int] = []
    for number in range(1000):
        recorder.observe(losses(), closure=losses)
        if number in {200, 999}:
            counts.append(live_tensors())
    assert counts[1] - counts[0] < 200 * 200  # 80 measurements of 2 tasks, and no parameters


class Expanded(Network):
    """Keeps tensors of which several elements are one in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 5).expand(16, 5))
        self.places = torch.arange(5.0).expand(16, 5)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return super().forward(inputs * self.mask + 0.1 * self.places)


def test_expanded_buffers_change_no_run() -> None:
    (plain, _), (recorded, _) = Run(Expanded)(), Run(Expanded)({"lookahead_every": 1})
    assert all(map(torch.equal, plain, recorded))


COMPILED = """
import torch
from affinity.recording import Recorder
traces = []
for compile in (lambda step: step, lambda step: torch.compile(step, backend="eager")):
    torch.manual_seed(0)
    trunk, inputs = torch.nn.Linear(3, 3), torch.randn(4, 3)
    recorder = Recorder(shared=trunk)
    def step():
        hidden = trunk(inputs)
        losses = {"a": hidden.square().mean(), "b": (hidden - 1).square().mean()}
        recorder.observe(losses)
        return losses["a"] + losses["b"]
    compile(step)().backward()
    traces.append(recorder.trace())
assert torch.equal(traces[0].gramians, traces[1].gramians)
"""


def test_a_compiled_function_may_observe() -> None:
    command = [sys.executable, "-c", COMPILED]  # in a process whose functions are not checked
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, env=environment)


class Averaged(Network):
    """A target network that each forward pass moves, in one of the usual ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.target = way, nn.Linear(5, 8).requires_grad_(False)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        source = self.trunk[0].weight
        if self.way == "new data":
            self.target.weight.data = 0.9 * self.target.weight.data + 0.1 * source.data
        elif self.way == "data in place":
            self.target.weight.data.mul_(0.9).add_(source.data, alpha=0.1)
        else:
            with torch.no_grad():
                self.target.weight.lerp_(source, 0.1)
        return self.losses(self.trunk(inputs) - self.target(inputs))


@pytest.mark.parametrize("way", ["new data", "data in place", "in place"])
def test_a_target_network_moves_as_without_a_recorder(way: str) -> None:
    run = Run(lambda: Averaged(way))
    (plain, _), (recorded, _) = run(), run({"lookahead_every": 1})
    assert all(map(torch.equal, plain, recorded))


def test_gradients_that_tensors_keep_are_those_of_the_run() -> None:
    model = Network()
    recorder = Recorder(model, "trunk", every=1, lookahead_every=1)
    for batch in batches(3):
        hidden = model.trunk(batch)
        hidden.retain_grad()
        losses = model.losses(hidden)
        (expected,) = torch.autograd.grad(losses["a"] + losses["b"], hidden, retain_graph=True)
        hidden.grad = None
        recorder.observe(losses)
        (losses["a"] + losses["b"]).backward()
        assert torch.equal(hidden.grad, expected)
