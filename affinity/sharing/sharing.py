"""Base of the ways to share: representations, one head per task, and stages of trunks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from zlib import crc32

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import Task, check_names

Trunk = Callable[[], nn.Module]
Head = Callable[[Task], nn.Module]


class Sharing(nn.Module, ABC):
    """A network that predicts every task: `represent`, then one head per task.

    The heads are the same in every way of sharing, so that only the shared parts differ.

    Args:
        tasks: The tasks to predict, in order.
        head: Makes the head of a task. With the same seed, a task's head has the same initial
            parameters for any set of other tasks.
    """

    names: tuple[str, ...]
    heads: nn.ModuleList
    represents_once: bool = False  # whether `represent` gives one representation for all tasks

    def __init__(self, tasks: Iterable[Task], head: Head) -> None:
        super().__init__()
        tasks = tuple(tasks)
        self.names = check_names(task.name for task in tasks)
        self.heads = per_task(tasks, head)

    @abstractmethod
    def represent(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """One representation for all tasks, or one for each."""

    def smoothed(self, values: Mapping[str, Tensor], step: float) -> dict[str, Tensor]:
        """Values of parameters, or their gradients, pulled together across tasks; none by default.

        Args:
            values: One tensor per parameter, by name.
            step: Size of the step; see `SoftSharing`.
        """
        del values, step
        return {}

    @torch.no_grad()
    def before_step(self) -> None:
        """Smooth the gradients across tasks; call it before `optimizer.step()`."""
        if type(self).smoothed is not Sharing.smoothed:
            parameters = dict(self.named_parameters())
            for name, gradient in self.smoothed(gradients_of(parameters), 1.0).items():
                parameters[name].grad = gradient.contiguous()

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Pull parameters together across tasks; call it after `optimizer.step()`."""
        if type(self).smoothed is not Sharing.smoothed:
            parameters = {n: p for n, p in self.named_parameters() if p.requires_grad}
            for name, value in self.smoothed(parameters, learning_rate).items():
                parameters[name].copy_(value)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """One prediction per task."""
        representations = self.represent(inputs)
        if isinstance(representations, Tensor):  # one for all
            representations = (representations,) * len(self.names)
        return {
            name: head(representation)
            for name, head, representation in zip(
                self.names, self.heads, representations, strict=True
            )
        }


def gradients_of(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of parameters, 0 where there is none."""
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad
        for name, value in parameters.items()
        if value.requires_grad
    }


def per_task(tasks: Iterable[Task], make: Head) -> nn.ModuleList:
    """One module per task, each initialized from its own random stream.

    The stream depends only on the seed (`torch.manual_seed`) and the task's name: the same task
    gets the same module in every network, so that comparisons are paired.
    """
    generator = torch.default_generator
    state = generator.get_state()
    modules = nn.ModuleList()
    for task in tasks:
        generator.manual_seed(generator.initial_seed() ^ crc32(task.name.encode()))
        modules.append(make(task))
        generator.set_state(state)
    return modules


def make_equal(count: int, make: Trunk) -> nn.ModuleList:
    """Modules with equal initial parameters, the same as those of a single module."""
    generator = torch.default_generator
    state = generator.get_state()
    modules = nn.ModuleList()
    for _ in range(count):
        generator.set_state(state)
        modules.append(make())
    return modules


def stages_of(trunk: nn.Module, purpose: str) -> list[nn.Module]:
    """The stages of a sequential trunk (at least two)."""
    if not isinstance(trunk, nn.Sequential) or len(trunk) < 2:
        what = f"{len(trunk)} stage" if isinstance(trunk, nn.Sequential) else type(trunk).__name__
        raise InputError(
            f"Expected a trunk of at least two stages (nn.Sequential) for {purpose}, but got "
            f"{what}. Make the trunk nn.Sequential, or use hard sharing.",
            "trunk-without-stages",
        )
    return list(trunk)


def widths_of(stages: list[nn.Module], sample: Tensor, purpose: str) -> list[int]:
    """The output size of each stage for a row of `sample`."""
    widths: list[int] = []
    outputs = sample
    for number, stage in enumerate(stages):
        outputs = stage(outputs)
        if outputs.dim() != 2:
            raise InputError(
                f"Expected stages that return [batch width] for {purpose}, but stage {number} "
                f"returns {list(outputs.shape)}.",
                "trunk-without-stages",
            )
        widths.append(outputs.shape[1])
    return widths
