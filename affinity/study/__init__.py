"""A study: trainings that anybody runs, kept in a folder, and what follows from them."""

from .deciding import Answer, NextJob, StudyState, current_answer, next_jobs
from .ledger import Ledger
from .study import Study, StudyStatus

__all__ = [
    "Answer",
    "Ledger",
    "NextJob",
    "Study",
    "StudyState",
    "StudyStatus",
    "current_answer",
    "next_jobs",
]
