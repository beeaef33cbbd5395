"""A task: the target that a head predicts, with its loss and its metric."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from torch import Tensor

from affinity.errors import InputError, check_choice, check_number

from .score import Score


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
        judge_by: Whether networks are compared by the loss or by the metric.
        weight: The task's weight in means over tasks: in groupings, overall verdicts and advice.

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
    judge_by: Literal["loss", "metric"] = "loss"
    weight: float = field(default=1.0, repr=False)  # has no influence on trainings

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("Expected a task name, but got an empty string.", "empty-task-name")
        check_number(
            f"n_outputs of task {self.name!r}", self.n_outputs, "invalid-n-outputs", least=1
        )
        check_choice(
            f"judge_by of task {self.name!r}", self.judge_by, ("loss", "metric"), "invalid-judge-by"
        )
        check_number(
            f"the weight of task {self.name!r}", self.weight, "invalid-weight", above=0, below=inf
        )

    @property
    def is_judged_by_metric(self) -> bool:
        """Whether networks are compared by the metric."""
        return self.judge_by == "metric"

    @property
    def score(self) -> Score:
        """How scores of the task are compared.

        Example:
            >>> from affinity.tasks import BinaryCrossEntropy, RocAuc
            >>> Task("income", BinaryCrossEntropy(), RocAuc(), judge_by="metric").score.direction
            'maximize'
        """
        is_maximized = self.is_judged_by_metric and self.higher_is_better
        return Score("maximize" if is_maximized else "minimize", weight=self.weight)
