"""Paired differences, intervals, verdicts and error control."""

from .gains import Gains, interval, spearman
from .negative_transfer import (
    ALL_TASKS,
    NegativeTransferTest,
    Verdict,
    VerdictName,
    without_verdict,
)
from .ratio import Ratio
from .two_level import Estimate, estimate

__all__ = [
    "ALL_TASKS",
    "Estimate",
    "Gains",
    "NegativeTransferTest",
    "Ratio",
    "Verdict",
    "VerdictName",
    "estimate",
    "interval",
    "spearman",
    "without_verdict",
]
