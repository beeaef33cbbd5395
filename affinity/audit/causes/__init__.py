"""Possible causes of harm by sharing, and of overfitting without it, each tested by removing it."""

from collections.abc import Callable

from .capacity import Capacity
from .context import DiagnosisContext, PlanLosses
from .data import Data
from .intervention import CauseResult, Intervention, Split
from .mismatch import Mismatch
from .optimization import Optimization, by_loss_scale
from .overfitting import Overfitting

Cause = Callable[[DiagnosisContext], CauseResult]

CAUSES: dict[str, Cause] = {
    "capacity": Capacity(),
    "optimization": Optimization(),
    "data": Data(),
    "mismatch": Mismatch(),
    "overfitting": Overfitting(),
}
"""Every cause, with default settings."""

QUICK_CAUSES: dict[str, Cause] = {
    "capacity": Capacity(factors=(2,)),
    "optimization": Optimization(one_by_one=False),
    "data": Data(shares=(0.5,)),
    "mismatch": Mismatch(factor=2),
    "overfitting": Overfitting(),
}
"""Every cause, with the cheapest interventions."""

__all__ = [
    "CAUSES",
    "QUICK_CAUSES",
    "Capacity",
    "Cause",
    "CauseResult",
    "Data",
    "DiagnosisContext",
    "Intervention",
    "Mismatch",
    "Optimization",
    "Overfitting",
    "PlanLosses",
    "Split",
    "by_loss_scale",
]
