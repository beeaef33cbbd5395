"""Which tasks to train together, within a budget."""

from .budget import Budget
from .group_scores import Candidate, GroupScores
from .grouping import Grouping, Network
from .objective import Objective
from .solve import SOLVERS, solve
from .wishes import Wishes

__all__ = [
    "SOLVERS",
    "Budget",
    "Candidate",
    "GroupScores",
    "Grouping",
    "Network",
    "Objective",
    "Wishes",
    "solve",
]
