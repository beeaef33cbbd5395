"""Retraining a plan beside its baselines, and what that shows."""

from .agreement import Agreement
from .audit import Audit
from .causes import CAUSES
from .diagnose import diagnose
from .diagnosis import Diagnosis
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .measure_sharing import measure_sharing
from .metric_name import metric_name
from .race import Race
from .race_result import ENDED, Candidate, RaceResult
from .repeated_holdout import RepeatedHoldout, retrain_draws
from .retrain import retrain
from .trained_plan import TrainedPlan

__all__ = [
    "CAUSES",
    "ENDED",
    "Agreement",
    "Audit",
    "Candidate",
    "Diagnosis",
    "EvaluatedPlan",
    "Gates",
    "Race",
    "RaceResult",
    "RepeatedHoldout",
    "TrainedPlan",
    "diagnose",
    "measure_sharing",
    "metric_name",
    "retrain",
    "retrain_draws",
]
