"""Hard sharing: one trunk under every task's head."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from affinity.tasks import Task, check_names


class HardSharing(nn.Module):
    """One trunk feeds a head a task (the shared bottom of Caruana, 1997).

    Args:
        tasks: The tasks to predict, in order.
        trunk: Makes the shared module.
        head: Makes the head of a task.

    Example:
        >>> import torch
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = HardSharing(tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1))
        >>> sorted(network(torch.zeros(5, 3)))
        ['depth', 'edges']
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Callable[[], nn.Module],
        head: Callable[[Task], nn.Module],
    ) -> None:
        super().__init__()
        tasks = tuple(tasks)
        self.names = check_names(task.name for task in tasks)
        self.trunk = trunk()
        self.heads = nn.ModuleList(head(task) for task in tasks)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One prediction a task."""
        representation = self.trunk(inputs)
        return {
            name: head(representation) for name, head in zip(self.names, self.heads, strict=True)
        }
