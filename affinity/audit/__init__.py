"""Retraining a plan beside its baselines, and what that shows."""

from .audit import Agreement, Arrangement, Audit, metric_name
from .causes import CAUSES
from .diagnose import diagnose
from .diagnosis import Diagnosis
from .kept_plan import KeptPlan
from .measure_sharing import measure_sharing
from .race import Race
from .raced import ENDED, Contender, Raced
from .retrain import retrain

__all__ = [
    "CAUSES",
    "ENDED",
    "Agreement",
    "Arrangement",
    "Audit",
    "Contender",
    "Diagnosis",
    "KeptPlan",
    "Race",
    "Raced",
    "diagnose",
    "measure_sharing",
    "metric_name",
    "retrain",
]
