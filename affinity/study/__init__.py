"""A study: finds task groupings from trainings that you run; kept in a folder."""

from .deciding import Answer, NextJob, StudyState, current_answer, next_jobs
from .ledger import Ledger
from .study import Study, StudyStatus
from .summary import StudySummary, summarize_study

__all__ = [
    "Answer",
    "Ledger",
    "NextJob",
    "Study",
    "StudyState",
    "StudyStatus",
    "StudySummary",
    "current_answer",
    "next_jobs",
    "summarize_study",
]
