"""Which tasks to train together, within a budget."""

from affinity.estimates import CandidateGroup, GroupScores

from .budget import Budget
from .constraints import Constraints
from .dynamic_programming import all_groups, solve_posterior_samples
from .frontier import frontier
from .grouping import Grouping, Network
from .objective import GroupingObjective
from .prefer_simple import prefer_simple, safest
from .solve import SOLVERS, solve
from .stability import Contrast, RunnerUp, Stability, stability

__all__ = [
    "SOLVERS",
    "Budget",
    "CandidateGroup",
    "Constraints",
    "Contrast",
    "GroupScores",
    "Grouping",
    "GroupingObjective",
    "Network",
    "RunnerUp",
    "Stability",
    "all_groups",
    "frontier",
    "prefer_simple",
    "safest",
    "solve",
    "solve_posterior_samples",
    "stability",
]
