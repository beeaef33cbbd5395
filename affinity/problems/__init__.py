"""Ready problems: a user's table, scikit-learn's digits, planted clusters."""

from .branching import Branching
from .equal_size import at_equal_size
from .merge import merge
from .planted import planted
from .preprocessing import Preprocessing
from .problem import Problem
from .record import record
from .resampling import Draw, RandomRows, Resampling, TimeBlocks
from .strength import Strengths, try_strengths
from .table import TableEncoder, problem_from_table
from .table_parts import TableParts, TableTrunk
from .train_networks import TrainingResults, train_networks

__all__ = [
    "Branching",
    "Draw",
    "Preprocessing",
    "Problem",
    "RandomRows",
    "Resampling",
    "Strengths",
    "TableEncoder",
    "TableParts",
    "TableTrunk",
    "TimeBlocks",
    "TrainingResults",
    "at_equal_size",
    "merge",
    "planted",
    "problem_from_table",
    "record",
    "train_networks",
    "try_strengths",
]
