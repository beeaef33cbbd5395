"""Which tasks to train together, within a budget."""

from affinity.estimates import CandidateGroup, GroupScores

from .budget import Budget
from .constraints import Constraints
from .every_draw import all_groups, best_of_every_draw
from .frontier import frontier
from .grouping import Grouping, Network
from .objective import GroupingObjective
from .prudent import prudent
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
    "best_of_every_draw",
    "frontier",
    "prudent",
    "solve",
    "stability",
]
