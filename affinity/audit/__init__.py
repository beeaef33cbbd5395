"""Audits: retraining a plan together with its baselines, and comparing them."""

from .agreement import Agreement
from .alert import SEVERITIES, Alert
from .audit import PROPOSED, Audit
from .audit_plan import audit_from_results, audit_jobs, audit_plan
from .causes import CAUSES
from .compare_objectives import ObjectiveComparison, ObjectivesSummary, compare_objectives
from .context import AuditContext
from .diagnose import diagnose, diagnose_plan
from .diagnosis import Diagnosis, DiagnosisSummary
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .limitations import Limitation
from .measure_sharing import measure_sharing
from .race import Race
from .race_result import ENDED, Candidate, RaceResult
from .repeated_holdout import HoldoutSummary, RepeatedHoldout, repeat_holdout
from .retrain import retrain
from .summary import AuditSummary
from .task_description import SCORE, TaskDescription, metric_name
from .trained_plan import TrainedPlan

__all__ = [
    "CAUSES",
    "ENDED",
    "PROPOSED",
    "SCORE",
    "SEVERITIES",
    "Agreement",
    "Alert",
    "Audit",
    "AuditContext",
    "AuditSummary",
    "Candidate",
    "Diagnosis",
    "DiagnosisSummary",
    "EvaluatedPlan",
    "Gates",
    "HoldoutSummary",
    "Limitation",
    "ObjectiveComparison",
    "ObjectivesSummary",
    "Race",
    "RaceResult",
    "RepeatedHoldout",
    "TaskDescription",
    "TrainedPlan",
    "audit_from_results",
    "audit_jobs",
    "audit_plan",
    "compare_objectives",
    "diagnose",
    "diagnose_plan",
    "measure_sharing",
    "metric_name",
    "repeat_holdout",
    "retrain",
]
