"""Which tasks to train together, within a budget."""

from .budget import Budget
from .grouping import Grouping, Network
from .objective import Objective
from .solve import SOLVERS, solve
from .wishes import Wishes

__all__ = ["SOLVERS", "Budget", "Grouping", "Network", "Objective", "Wishes", "solve"]
