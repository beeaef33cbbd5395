"""Retraining a plan beside its baselines, and what that shows."""

from .audit import Agreement, Arrangement, Audit, metric_name
from .gains import Gains, interval
from .kept_plan import KeptPlan
from .negative_transfer import NegativeTransferTest, Verdict
from .retrain import retrain

__all__ = [
    "Agreement",
    "Arrangement",
    "Audit",
    "Gains",
    "KeptPlan",
    "NegativeTransferTest",
    "Verdict",
    "interval",
    "metric_name",
    "retrain",
]
