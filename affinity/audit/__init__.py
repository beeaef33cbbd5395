"""Retraining a plan beside its baselines, and what that shows."""

from .audit import Agreement, Arrangement, Audit, metric_name
from .gains import Gains, interval
from .kept_plan import KeptPlan
from .negative_transfer import NegativeTransferTest, Verdict
from .race import Race
from .raced import Contender, Raced
from .retrain import retrain

__all__ = [
    "Agreement",
    "Arrangement",
    "Audit",
    "Contender",
    "Gains",
    "KeptPlan",
    "NegativeTransferTest",
    "Race",
    "Raced",
    "Verdict",
    "interval",
    "metric_name",
    "retrain",
]
