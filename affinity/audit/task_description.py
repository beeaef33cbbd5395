"""A task as results and files describe it: names instead of the functions that computed scores."""

from dataclasses import dataclass
from typing import Literal

from affinity.tasks import NamedMetric, Task

SCORE = "score"
"""Name of the loss and metric if an external trainer returned only a score."""

METRIC_NAMES = {
    "RocAuc": "ROC AUC",
    "Accuracy": "accuracy",
    "RSquared": "R²",
    "VectorRSquared": "R²",
}


@dataclass(frozen=True)
class TaskDescription:
    """A task's name, the names of its loss and metric, and its output size.

    Args:
        loss: Name of the loss that it was trained on.
        metric: Name of the metric that is reported next to the loss.
        judge_by: Whether gains and verdicts are of the loss or of the metric.
        constant_loss: Test loss of the prediction that is constant and best on development rows;
            None if it is unknown.

    Example:
        >>> from affinity.tasks import BinaryCrossEntropy, RocAuc
        >>> TaskDescription.from_task(Task("income", BinaryCrossEntropy(), RocAuc())).metric
        'ROC AUC'
    """

    name: str
    loss: str
    metric: str
    higher_is_better: bool = True
    n_outputs: int = 1
    judge_by: Literal["loss", "metric"] = "loss"
    constant_loss: float | None = None

    @classmethod
    def from_task(cls, task: Task, constant_loss: float | None = None) -> "TaskDescription":
        """Describe a task by the names of its loss and metric."""
        return cls(
            task.name,
            _name_of(task.loss),
            metric_name(task),
            task.higher_is_better,
            task.n_outputs,
            task.judge_by,
            constant_loss,
        )


SHORT_NAMES = {"r2": "R²", "roc_auc": "ROC AUC", "d2_poisson": "Poisson D²"}
"""Names of metrics as they are written."""


def metric_name(task: Task) -> str:
    """The name of the task's metric, as tables show it."""
    if isinstance(task.metric, NamedMetric):
        return SHORT_NAMES.get(task.metric.name, task.metric.name.replace("_", " "))
    name = _name_of(task.metric)
    return METRIC_NAMES.get(name, name)


def _name_of(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
