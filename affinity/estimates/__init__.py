"""How tasks affect each other, estimated from a trace."""

from collections.abc import Callable
from functools import partial

from affinity.recording import Trace

from .first_order import FirstOrderAffinity
from .gradient_conflict import GradientConflict
from .gradient_cosine import GradientCosine
from .inter_task_affinity import InterTaskAffinity
from .label_correlation import LabelCorrelation, label_overlap
from .matrix import AffinityMatrix
from .pairwise_gains import PairwiseGains
from .reliability import Reliability, split_half
from .signal_cosine import SignalCosine

Estimator = Callable[[Trace], AffinityMatrix]

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "inter-task affinity": InterTaskAffinity,
    "held-out affinity": partial(InterTaskAffinity, held_out=True),
    "first order": FirstOrderAffinity,
    "gradient cosine": GradientCosine,
    "gradient conflict": GradientConflict,
    "signal cosine": SignalCosine,
}
"""Every estimator by its name, with default settings; the laws are tested over this table."""

NEED_HELD_OUT = frozenset({"held-out affinity", "signal cosine"})
"""Those that need a trace recorded with held-out batches."""

__all__ = [
    "ESTIMATORS",
    "NEED_HELD_OUT",
    "AffinityMatrix",
    "Estimator",
    "FirstOrderAffinity",
    "GradientConflict",
    "GradientCosine",
    "InterTaskAffinity",
    "LabelCorrelation",
    "PairwiseGains",
    "Reliability",
    "SignalCosine",
    "label_overlap",
    "split_half",
]
