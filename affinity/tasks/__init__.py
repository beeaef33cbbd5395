"""The parts of a multi-task problem: tasks, their losses and metrics, and labelled examples."""

from .examples import Examples, Replicate
from .losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    OrdinalCrossEntropy,
    PoissonDeviance,
    SquaredError,
    SquaredLogError,
    ignores_missing,
    loss_on_labelled,
    takes_stacks,
)
from .metrics import Accuracy, RocAuc, RSquared
from .named_metric import METRICS, NamedMetric
from .names import check_names
from .score import Direction, Score
from .task import Task

__all__ = [
    "METRICS",
    "Accuracy",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Direction",
    "Examples",
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
    "check_names",
    "ignores_missing",
    "loss_on_labelled",
    "takes_stacks",
]
