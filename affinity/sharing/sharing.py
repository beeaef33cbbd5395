"""What every way of sharing has in common: representations, and a head a task on top of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from zlib import crc32

import torch
from torch import Tensor, nn

from affinity.tasks import Task, check_names

Trunk = Callable[[], nn.Module]
Head = Callable[[Task], nn.Module]


class Sharing(nn.Module, ABC):
    """A network that predicts every task: `represent`, then a head a task.

    The heads are the same in every way of sharing, so that gains compare like with like.

    Args:
        tasks: The tasks to predict, in order.
        head: Makes the head of a task. A task's head starts the same in whatever company, given
            the same seed.
    """

    names: tuple[str, ...]
    heads: nn.ModuleList
    represents_once: bool = False
    """Whether `represent` gives one representation for all tasks."""

    def __init__(self, tasks: Iterable[Task], head: Head) -> None:
        super().__init__()
        tasks = tuple(tasks)
        self.names = check_names(task.name for task in tasks)
        self.heads = per_task(tasks, head)

    @abstractmethod
    def represent(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """One representation for all tasks, or one for each."""

    def penalty(self) -> Tensor | float:
        """What is added to the sum of losses in training."""
        return 0.0

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One prediction a task."""
        representations = self.represent(inputs)
        if isinstance(representations, Tensor):  # one for all
            representations = (representations,) * len(self.names)
        return {
            name: head(representation)
            for name, head, representation in zip(
                self.names, self.heads, representations, strict=True
            )
        }


def per_task(tasks: Iterable[Task], make: Head) -> nn.ModuleList:
    """A module a task, each drawn from a random stream of its own.

    The stream depends on the seed (`torch.manual_seed`) and the task's name alone: the same task
    gets the same module in any company, so that networks are compared in pairs.
    """
    generator = torch.default_generator
    state = generator.get_state()
    modules = nn.ModuleList()
    for task in tasks:
        generator.manual_seed(generator.initial_seed() ^ crc32(task.name.encode()))
        modules.append(make(task))
        generator.set_state(state)
    return modules


def alike(count: int, make: Trunk) -> nn.ModuleList:
    """Modules that all start from the same parameters, those that one module would start from."""
    generator = torch.default_generator
    state = generator.get_state()
    modules = nn.ModuleList()
    for _ in range(count):
        generator.set_state(state)
        modules.append(make())
    return modules
