"""A task: the target that a head predicts, with its loss and its metric."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from affinity.errors import InputError


@dataclass(frozen=True)
class Task:
    """A task has a name, a loss to train on, and a metric to report.

    A missing label is NaN in the targets; the losses and metrics of this package ignore such rows.

    Args:
        name: Any non-empty string.
        loss: ``loss(prediction [batch output], target [batch]) -> scalar``, a mean over the
            labelled rows of the batch, 0 if none is labelled.
        metric: ``metric(prediction [row output], target [row]) -> float``, reported with the
            loss; NaN if it is undefined (such as a test split with only one class).
        higher_is_better: Whether a larger metric is better.
        n_outputs: Number of outputs of the task's head.

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
