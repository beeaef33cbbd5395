"""Possible causes of harm by sharing; each is measured by removing it."""

from collections.abc import Callable

from .capacity import Capacity
from .cause_result import CauseResult
from .context import DiagnosisContext, PlanLosses
from .data import Data
from .intervention import Intervention, Split
from .loss_scale import by_loss_scale
from .mismatch import Mismatch
from .optimization import Optimization

Cause = Callable[[DiagnosisContext], CauseResult]

CAUSES: dict[str, Cause] = {
    "capacity": Capacity(),
    "optimization": Optimization(),
    "data": Data(),
    "mismatch": Mismatch(),
}
"""Every cause, with default settings."""

QUICK_CAUSES: dict[str, Cause] = {
    "capacity": Capacity(factors=(2,)),
    "optimization": Optimization(one_by_one=False),
    "data": Data(shares=(0.5,)),
    "mismatch": Mismatch(factor=2),
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
    "PlanLosses",
    "Split",
    "by_loss_scale",
]
