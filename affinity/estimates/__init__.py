"""How tasks affect each other, estimated from a trace."""

from collections.abc import Callable

from affinity.recording import Trace

from .gradient_cosine import GradientCosine
from .inter_task_affinity import InterTaskAffinity
from .matrix import AffinityMatrix

Estimator = Callable[[Trace], AffinityMatrix]

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "inter-task affinity": InterTaskAffinity,
    "gradient cosine": GradientCosine,
}
"""Every estimator by its name, with default settings; the laws are tested over this table."""

__all__ = [
    "ESTIMATORS",
    "AffinityMatrix",
    "Estimator",
    "GradientCosine",
    "InterTaskAffinity",
]
