"""How tasks affect each other, estimated from a trace, labels, or measured groups."""

from collections.abc import Callable
from functools import partial

from affinity.recording import Trace

from .calibrated import CalibratedGains, GainPredictor, PredictedGains
from .data_statistics import DataStatistics
from .first_order import FirstOrderAffinity
from .gradient_conflict import GradientConflict
from .gradient_cosine import GradientCosine
from .gradient_surrogate import GradientSurrogate
from .group_scores import CandidateGroup, GroupScores
from .inter_task_affinity import InterTaskAffinity
from .label_correlation import LabelCorrelation
from .linear_surrogate import GroupPredictor, LinearSurrogate
from .linearize import Linearization, linearize
from .matrix import AffinityMatrix
from .measured_gains import PairwiseGains, measured_gains
from .mixture import MixtureFit, MixtureRegression, MixtureRuns
from .momentum_affinity import MomentumAffinity
from .over_runs import Window, combine, runs_of
from .overlap import LabelOverlap, label_overlap
from .preconditioned_gramian import PreconditionedGramian
from .reliability import Reliability, seed_to_seed, split_half
from .representation_similarity import RepresentationSimilarity, separate_representations
from .signal_cosine import SignalCosine
from .task_relationships import TaskRelationships

Estimator = Callable[[Trace], AffinityMatrix]

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "inter-task affinity": InterTaskAffinity,
    "held-out affinity": partial(InterTaskAffinity, held_out=True),
    "optimizer-aware affinity": partial(InterTaskAffinity, step="optimizer"),
    "first order": FirstOrderAffinity,
    "etap": MomentumAffinity,
    "gradient cosine": GradientCosine,
    "gradient conflict": GradientConflict,
    "signal cosine": SignalCosine,
    "preconditioned gramian": PreconditionedGramian,
}
"""Every estimator by its name, with default settings; the laws are tested over this table."""

NEED_HELD_OUT = frozenset({"held-out affinity", "signal cosine"})
"""Estimators that need a trace recorded with held-out batches."""

NEED_OPTIMIZER_STEPS = frozenset({"optimizer-aware affinity"})
"""Estimators that need a trace recorded with the steps of the run's own optimizer."""

__all__ = [
    "ESTIMATORS",
    "NEED_HELD_OUT",
    "NEED_OPTIMIZER_STEPS",
    "AffinityMatrix",
    "CalibratedGains",
    "CandidateGroup",
    "DataStatistics",
    "Estimator",
    "FirstOrderAffinity",
    "GainPredictor",
    "GradientConflict",
    "GradientCosine",
    "GradientSurrogate",
    "GroupPredictor",
    "GroupScores",
    "InterTaskAffinity",
    "LabelCorrelation",
    "LabelOverlap",
    "LinearSurrogate",
    "Linearization",
    "MixtureFit",
    "MixtureRegression",
    "MixtureRuns",
    "MomentumAffinity",
    "PairwiseGains",
    "PreconditionedGramian",
    "PredictedGains",
    "Reliability",
    "RepresentationSimilarity",
    "SignalCosine",
    "TaskRelationships",
    "Window",
    "combine",
    "label_overlap",
    "linearize",
    "measured_gains",
    "runs_of",
    "seed_to_seed",
    "separate_representations",
    "split_half",
]
