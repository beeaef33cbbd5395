"""Which tasks to train together, within a budget."""

from affinity.estimates import Candidate, GroupScores

from .budget import Budget
from .every_draw import all_groups, best_of_every_draw
from .frontier import frontier
from .grouping import Grouping, Network
from .objective import Objective
from .prudent import prudent
from .solve import SOLVERS, solve
from .stability import Contrast, RunnerUp, Stability, stability
from .wishes import Wishes

__all__ = [
    "SOLVERS",
    "Budget",
    "Candidate",
    "Contrast",
    "GroupScores",
    "Grouping",
    "Network",
    "Objective",
    "RunnerUp",
    "Stability",
    "Wishes",
    "all_groups",
    "best_of_every_draw",
    "frontier",
    "prudent",
    "solve",
    "stability",
]
