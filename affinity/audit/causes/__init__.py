"""Causes of harm by sharing, each measured by taking it away."""

from collections.abc import Callable

from .capacity import Capacity
from .case import Case, Losses
from .change import Change, Rows
from .data import Data
from .finding import Finding
from .loss_scale import by_loss_scale
from .mismatch import Mismatch
from .optimization import Optimization

Cause = Callable[[Case], Finding]

CAUSES: dict[str, Cause] = {
    "capacity": Capacity(),
    "optimization": Optimization(),
    "data": Data(),
    "mismatch": Mismatch(),
}
"""Every cause, with its usual settings."""

__all__ = [
    "CAUSES",
    "Capacity",
    "Case",
    "Cause",
    "Change",
    "Data",
    "Finding",
    "Losses",
    "Mismatch",
    "Optimization",
    "Rows",
    "by_loss_scale",
]
