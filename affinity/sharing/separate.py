"""Separate: one trunk per task; nothing is shared."""

from collections.abc import Iterable

from torch import Tensor

from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal


class Separate(Sharing):
    """Every task has its own trunk; all trunks start from the same parameters.

    T single-task networks in one module: the baseline of every measured gain.

    Args:
        trunk: Makes the trunk of a task.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = Separate(tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1))
        >>> len(network.trunks)
        2
    """

    def __init__(self, tasks: Iterable[Task], trunk: Trunk, head: Head) -> None:
        super().__init__(tasks, head)
        self.trunks = make_equal(len(self.names), trunk)

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The output of each task's trunk."""
        return tuple(trunk(inputs) for trunk in self.trunks)
