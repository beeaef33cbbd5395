"""Ready problems: a user's table, scikit-learn's digits, planted clusters."""

from .problem import Problem
from .record import record
from .resampling import Draw, RandomRows, Resampling, TimeBlocks
from .table import problem_from_table
from .train_networks import Measurements, train_networks

__all__ = [
    "Draw",
    "Measurements",
    "Problem",
    "RandomRows",
    "Resampling",
    "TimeBlocks",
    "problem_from_table",
    "record",
    "train_networks",
]
