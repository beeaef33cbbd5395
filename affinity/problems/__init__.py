"""Ready problems: a user's table, scikit-learn's digits, planted clusters."""

from .preprocessing import Preprocessing
from .problem import Problem
from .record import record
from .resampling import Draw, RandomRows, Resampling, TimeBlocks
from .table import TableEncoder, TableTrunk, problem_from_table
from .train_networks import Measurements, train_networks

__all__ = [
    "Draw",
    "Measurements",
    "Preprocessing",
    "Problem",
    "RandomRows",
    "Resampling",
    "TableEncoder",
    "TableTrunk",
    "TimeBlocks",
    "problem_from_table",
    "record",
    "train_networks",
]
