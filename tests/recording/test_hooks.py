"""Hooks that a recorder runs once more than the run itself are told of."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from affinity.recording import Recorder


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8))
        self.heads = nn.ModuleDict({"a": nn.Linear(8, 1), "b": nn.Linear(8, 1)})

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        representation = self.trunk(inputs)
        return {task: head(representation).square().mean() for task, head in self.heads.items()}


Count = Callable[..., None]

HOOKS: dict[str, tuple[Callable[[Network, Count], Any], str]] = {
    "of a parameter": (
        lambda model, count: model.trunk[0].weight.register_hook(count),
        r"\['trunk\.0\.weight'\].*every task",
    ),
    "backward": (
        lambda model, count: model.trunk[2].register_full_backward_hook(count),
        r"\['trunk\.2'\].*every task",
    ),
    "before backward": (
        lambda model, count: model.trunk[2].register_full_backward_pre_hook(count),
        r"\['trunk\.2'\].*every task",
    ),
    "forward": (
        lambda model, count: model.trunk.register_forward_hook(count),
        r"\['trunk'\].*whenever the closure",
    ),
    "before forward": (
        lambda model, count: model.register_forward_pre_hook(count),
        r"\['the model'\].*whenever the closure",
    ),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_that_may_count_calls_are_told_and_can_leave_out_the_recorders(name: str) -> None:
    register, message = HOOKS[name]
    model, batch, calls = Network(), torch.randn(4, 5), []
    recorder = Recorder(model, "trunk", lookahead_every=1)

    def count(*_: object) -> None:
        calls.append(recorder.is_observing)

    register(model, count)
    losses = model(batch)
    with pytest.warns(UserWarning, match=message + r".*recorder\.is_observing"):
        recorder.observe(losses, closure=lambda: model(batch))
    sum(losses.values(), torch.tensor(0.0)).backward()
    assert calls.count(True) >= 2
    assert calls.count(False) == 1


def test_hooks_of_libraries_are_not_told() -> None:
    model, batch = Network(), torch.randn(4, 5)
    prune.identity(model.trunk[2], "weight")
    recorder = Recorder(model, "trunk", lookahead_every=1)
    recorder.observe(model(batch), closure=lambda: model(batch))  # warnings are errors
    assert len(recorder.trace()) == 1
