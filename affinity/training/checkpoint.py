"""Checkpoints: everything that a training needs to continue, in one file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from affinity import storage
from affinity.errors import InputError


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after an epoch."""

    run: str  # identifies the training
    epoch: int
    step: int
    best: float  # lowest validation score
    best_epoch: int
    lowest: Mapping[str, tuple[float, int]]  # lowest validation loss of each task, and its epoch
    network: Mapping[str, Tensor]  # parameters and buffers
    best_network: Mapping[str, Tensor]  # parameters and buffers at the best epoch
    optimizer: Mapping[str, Tensor]  # moments and step counts, by the number of the parameter
    balance: Mapping[str, Tensor]  # state of the objective
    random: Tensor  # state of the generator
    # averaged parameters and buffers, if they are averaged
    average: Mapping[str, Tensor] = field(default_factory=dict)


def read_checkpoint(path: Path, run: str) -> Checkpoint | None:
    """The checkpoint at `path` of the training `run`; None if there is no file."""
    if not path.exists():
        return None
    checkpoint = storage.load_as(Checkpoint, path)
    if checkpoint.run != run:
        raise InputError(
            f"Expected the checkpoint {str(path)!r} to be of this training, but it is of another: "
            f"{checkpoint.run} instead of {run}. Delete it, or choose another file.",
            "other-training",
        )
    return checkpoint


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counts of an optimizer, by the number of the parameter."""
    return {
        f"{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that `optimizer_tensors` returned for the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
