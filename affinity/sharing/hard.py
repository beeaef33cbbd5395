"""Hard sharing: one trunk for all tasks, and one head per task."""

from collections.abc import Iterable

from torch import Tensor

from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk


class HardSharing(Sharing):
    """One trunk feeds one head per task (the shared bottom of Caruana, 1997).

    Args:
        trunk: Makes the shared module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = HardSharing(tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1))
        >>> sorted(network(torch.zeros(5, 3)))
        ['depth', 'edges']
    """

    represents_once = True

    def __init__(self, tasks: Iterable[Task], trunk: Trunk, head: Head) -> None:
        super().__init__(tasks, head)
        self.trunk = trunk()

    def represent(self, inputs: Tensor) -> Tensor:
        """The trunk's output, for all tasks."""
        return self.trunk(inputs)
