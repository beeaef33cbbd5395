"""One measurement, and many of them side by side as a trace."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .trace import Trace


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured at one step; None where it was not, NaN where a task was missing."""

    step: int
    losses: Float[Tensor, " task"]
    gramian: Float[Tensor, "task task"] | None = None
    lookahead: Float[Tensor, "task task"] | None = None
    learning_rate: float | None = None


def stack_measurements(tasks: tuple[str, ...], measurements: Sequence[Measurement]) -> Trace:
    """A trace with one entry of time a measurement."""
    rates = [measurement.learning_rate for measurement in measurements]
    return Trace(
        tasks=tasks,
        steps=torch.tensor([measurement.step for measurement in measurements]),
        losses=torch.stack([measurement.losses for measurement in measurements]),
        gramians=_stacked([measurement.gramian for measurement in measurements]),
        lookahead_losses=_stacked([measurement.lookahead for measurement in measurements]),
        learning_rates=torch.tensor([torch.nan if rate is None else rate for rate in rates]),
    )


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    """NaN at the times when nothing was measured; None where there is no other time."""
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None
    return torch.stack([torch.full_like(some, torch.nan) if p is None else p for p in parts])
