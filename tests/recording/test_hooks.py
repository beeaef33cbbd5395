"""The recorder warns of hooks that it runs more often than the run itself."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from codes import warns
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
        "backward-hooks",
    ),
    "backward": (
        lambda model, count: model.trunk[2].register_full_backward_hook(count),
        "backward-hooks",
    ),
    "before backward": (
        lambda model, count: model.trunk[2].register_full_backward_pre_hook(count),
        "backward-hooks",
    ),
    "forward": (
        lambda model, count: model.trunk.register_forward_hook(count),
        "forward-hooks",
    ),
    "before forward": (
        lambda model, count: model.register_forward_pre_hook(count),
        "forward-hooks",
    ),
}


@pytest.mark.parametrize("name", HOOKS)
def test_the_recorder_warns_of_hooks_that_may_count_calls_and_they_can_ignore_it(name: str) -> None:
    register, code = HOOKS[name]
    model, batch, calls = Network(), torch.randn(4, 5), []
    recorder = Recorder(model, "trunk", lookahead_every=1)

    def count(*_: object) -> None:
        calls.append(recorder.is_observing)

    register(model, count)
    losses = model(batch)
    with warns(code):
        recorder.observe(losses, closure=lambda: model(batch))
    sum(losses.values(), torch.tensor(0.0)).backward()
    assert calls.count(True) >= 2
    assert calls.count(False) == 1


def test_hooks_of_libraries_cause_no_warning() -> None:
    model, batch = Network(), torch.randn(4, 5)
    prune.identity(model.trunk[2], "weight")
    recorder = Recorder(model, "trunk", lookahead_every=1)
    recorder.observe(model(batch), closure=lambda: model(batch))  # warnings are errors
    assert len(recorder.trace()) == 1
