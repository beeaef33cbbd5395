"""Ready problems: a user's table, scikit-learn's digits, planted clusters."""

from .problem import Problem
from .resampling import RandomRows

__all__ = ["Problem", "RandomRows"]
