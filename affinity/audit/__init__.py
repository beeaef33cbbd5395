"""Retraining a plan beside its baselines, and what that shows."""

from .agreement import Agreement
from .arrangement import Arrangement
from .audit import Audit
from .causes import CAUSES
from .diagnose import diagnose
from .diagnosis import Diagnosis
from .gates import Gates
from .kept_plan import KeptPlan
from .measure_sharing import measure_sharing
from .metric_name import metric_name
from .outer import OuterDraws, retrain_draws
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
    "Gates",
    "KeptPlan",
    "OuterDraws",
    "Race",
    "Raced",
    "diagnose",
    "measure_sharing",
    "metric_name",
    "retrain",
    "retrain_draws",
]
