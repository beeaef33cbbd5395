"""A study: finds task groupings from trainings that you run; kept in a folder."""

from .deciding import Answer, NextJob, StudyState, current_answer, next_jobs
from .history import PastAnswer, StudyCandidate
from .ledger import Ledger
from .status import StudyStatus
from .study import Study
from .summary import AuditDecision, StudySummary, summarize_study

__all__ = [
    "Answer",
    "AuditDecision",
    "Ledger",
    "NextJob",
    "PastAnswer",
    "Study",
    "StudyCandidate",
    "StudyState",
    "StudyStatus",
    "StudySummary",
    "current_answer",
    "next_jobs",
    "summarize_study",
]
