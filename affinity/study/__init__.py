"""A study: trainings that anybody runs, kept in a folder, and what follows from them."""

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
