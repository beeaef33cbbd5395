import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from affinity.recording import Recorder

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
        representation = self.trunk(inputs)
        return {
            "a": self.a(representation).square().mean(),
            "b": (self.b(representation) - 1).abs().mean(),
        }


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


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
    return [*model.state_dict().values(), *gradients, *state, torch.get_rng_state()]


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

    def __call__(self, **settings: object) -> tuple[list[Tensor], Recorder | None]:
        """Train; with settings, under a recorder."""
        torch.manual_seed(0)
        model = self.make()
        optimizer = self.optimizer(model)
        recorder = Recorder(model, optimizer=optimizer, **settings) if settings else None

        def losses_on(batch: Tensor) -> dict[str, Tensor]:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                return model(batch)

        for number, batch in enumerate(batches()):
            losses = losses_on(batch)
            if recorder is not None:
                recorder.observe(losses, closure=lambda batch=batch: losses_on(batch))
            (sum(losses.values(), torch.tensor(0.0)) / self.accumulate).backward()
            if (number + 1) % self.accumulate == 0:
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                optimizer.step()
                if number + 1 < N_STEPS:
                    optimizer.zero_grad()
        return everything(model, optimizer), recorder


RUNS = {
    "batch norm, dropout, AdamW": Run(),
    "momentum": Run(optimizer=momentum),
    "accumulation": Run(accumulate=3),
    "clipping": Run(clip=0.1),
    "bf16 autocast": Run(autocast=True),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_is_the_same_run(name: str) -> None:
    plain, _ = RUNS[name]()
    recorded, recorder = RUNS[name](every=2, shared="trunk")
    assert recorder is not None
    assert len(recorder.trace()) == N_STEPS // 2
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


def test_lookahead_shares_dropout_masks() -> None:
    torch.manual_seed(0)
    model = Network()
    recorder = Recorder(model, shared="trunk", every=1, learning_rate=1e-12)
    (batch,) = batches(1)
    losses = model(batch)
    recorder.observe(losses, closure=lambda: model(batch))
    trace = recorder.trace()
    assert trace.lookahead_losses is not None
    assert torch.allclose(trace.lookahead_losses[0], trace.losses.expand(2, 2), atol=1e-6)
    sum(losses.values(), torch.tensor(0.0)).backward()  # still goes through


def test_lookahead_is_the_loss_after_a_gradient_step() -> None:
    torch.manual_seed(0)
    model = Network().eval()
    (batch,) = batches(1)
    rate = 0.1
    recorder = Recorder(model, shared="trunk", every=1, learning_rate=rate)
    recorder.observe(model(batch), closure=lambda: model(batch))
    measured = recorder.trace().lookahead_losses
    assert measured is not None
    for source, task in enumerate("ab"):
        stepped = copy.deepcopy(model)
        shared = list(stepped.trunk.parameters())
        gradients = torch.autograd.grad(stepped(batch)[task], shared)
        with torch.no_grad():
            for parameter, gradient in zip(shared, gradients, strict=True):
                parameter -= rate * gradient
            expected = torch.stack(list(stepped(batch).values()))
        assert torch.allclose(measured[0, source], expected, atol=1e-6)


def test_gramian_holds_the_inner_products_of_task_gradients() -> None:
    torch.manual_seed(0)
    model = Network().eval()
    (batch,) = batches(1)
    recorder = Recorder(model, every=1)
    losses = model(batch)
    recorder.observe(losses)
    flat = torch.stack(
        [
            torch.cat(
                [
                    part.flatten()
                    for part in torch.autograd.grad(
                        losses[task], list(model.trunk.parameters()), retain_graph=True
                    )
                ]
            )
            for task in "ab"
        ]
    )
    measured = recorder.trace().gramians
    assert measured is not None
    assert torch.allclose(measured[0], flat @ flat.T, atol=1e-6)
