"""A task: what a head predicts, and how its predictions are judged."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from affinity.errors import InputError


@dataclass(frozen=True)
class Task:
    """A task is a name, a loss to train on, and a metric to report.

    A missing label is NaN in the targets; the losses and metrics of this package ignore such rows.

    Args:
        name: Any non-empty string.
        loss: ``loss(prediction [batch output], target [batch]) -> scalar``, a mean over the
            labelled rows of the batch, 0 where none is labelled.
        metric: ``metric(prediction [row output], target [row]) -> float``, reported with the
            loss; NaN where it is undefined (a test split with one class only).
        higher_is_better: Whether a larger metric is better.
        n_outputs: How many numbers the task's head puts out.

    Example:
        >>> from affinity.tasks import BinaryCrossEntropy, RocAuc
        >>> Task("income", BinaryCrossEntropy(), RocAuc()).n_outputs
        1
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    metric: Callable[[Tensor, Tensor], float]
    higher_is_better: bool = True
    n_outputs: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("Expected a task name, but got an empty string.", "empty-task-name")
        if self.n_outputs < 1:
            raise InputError(
                f"Expected task {self.name!r} to have at least one output, "
                f"but got n_outputs={self.n_outputs}.",
                "invalid-n-outputs",
            )
