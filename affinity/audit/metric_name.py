"""What a task's metric is called."""

from affinity.tasks import Task

NAMES = {"RocAuc": "ROC AUC", "Accuracy": "accuracy", "RSquared": "R²"}


def metric_name(task: Task) -> str:
    """What the task's metric is called in a report."""
    kind = type(task.metric).__name__
    return NAMES.get(kind, getattr(task.metric, "__name__", kind))
