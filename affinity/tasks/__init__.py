"""The parts of a multi-task problem: tasks, their losses and metrics, and labelled examples."""

from affinity.names import check_names

from .examples import Examples, ExamplesView, Replicate
from .losses import (
    BinaryCrossEntropy,
    CensoredDeviance,
    CrossEntropy,
    OrdinalCrossEntropy,
    PoissonDeviance,
    SquaredError,
    SquaredLogError,
    VectorError,
    ignores_missing,
    loss_on_labelled,
    takes_stacks,
)
from .metrics import Accuracy, RocAuc, RSquared, VectorRSquared, concordance_index
from .named_metric import METRICS, NamedMetric
from .score import Direction, Score
from .task import Task

__all__ = [
    "METRICS",
    "Accuracy",
    "BinaryCrossEntropy",
    "CensoredDeviance",
    "CrossEntropy",
    "Direction",
    "Examples",
    "ExamplesView",
    "NamedMetric",
    "OrdinalCrossEntropy",
    "PoissonDeviance",
    "RSquared",
    "Replicate",
    "RocAuc",
    "Score",
    "SquaredError",
    "SquaredLogError",
    "Task",
    "VectorError",
    "VectorRSquared",
    "check_names",
    "concordance_index",
    "ignores_missing",
    "loss_on_labelled",
    "takes_stacks",
]
