"""Ready problems: a user's table, scikit-learn's digits, planted clusters."""

from .branching import Branching
from .digits import load_digits
from .equal_size import at_equal_size
from .merge import merge
from .planted import planted
from .preprocessing import Preprocessing
from .problem import DataSource, Problem, TableParts, TableTrunk
from .record import record
from .resampling import Draw, RandomRows, Resampling, TimeBlocks
from .strength import Strengths, try_strengths
from .table import TableEncoder, load_table
from .train_networks import TrainingResults, train_networks

__all__ = [
    "Branching",
    "DataSource",
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
    "load_digits",
    "load_table",
    "merge",
    "planted",
    "record",
    "train_networks",
    "try_strengths",
]
