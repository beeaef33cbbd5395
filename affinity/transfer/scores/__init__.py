"""Scores without training: what a source promises a target before anything is tuned."""

from collections.abc import Callable

from .h_score import HScore
from .leep import LEEP
from .log_me import LogME
from .view import View

SCORES: dict[str, Callable[[View], float]] = {
    "LogME": LogME(),
    "LEEP": LEEP(),
    "H-score": HScore(),
}

__all__ = ["LEEP", "SCORES", "HScore", "LogME", "View"]
