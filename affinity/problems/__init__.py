"""Ready problems: a user's table, scikit-learn's digits, planted clusters."""

from .problem import Problem
from .resampling import RandomRows, Resampling, TimeBlocks
from .table import problem_from_table

__all__ = ["Problem", "RandomRows", "Resampling", "TimeBlocks", "problem_from_table"]
