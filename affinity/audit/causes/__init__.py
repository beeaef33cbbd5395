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

QUICK_CAUSES: dict[str, Cause] = {
    "capacity": Capacity(factors=(2,)),
    "optimization": Optimization(one_by_one=False),
    "data": Data(shares=(0.5,)),
    "mismatch": Mismatch(factor=2),
}
"""Every cause, with the changes that cost least."""

__all__ = [
    "CAUSES",
    "QUICK_CAUSES",
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
