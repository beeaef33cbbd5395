"""A family of tasks: what few-shot tasks are drawn from."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples, Task

from .episodes import Episodes


@dataclass(frozen=True, eq=False)
class Joint:
    """All tasks of a family as one ordinary problem, for a network that is trained beforehand.

    Args:
        task: One task: all classes of the family at once, or the regression that its tasks share.
        rows: Rows of all tasks, mixed.
    """

    task: Task
    rows: Examples


class Family(ABC):
    """Draws few-shot tasks. Meta-training and meta-test tasks come from two families."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """Loss, metric and outputs that all few-shot tasks of the family have."""

    @property
    @abstractmethod
    def n_tasks(self) -> float:
        """How many different tasks there are; infinite where a formula makes them."""

    @property
    def most_draws(self) -> float:
        """How many tasks can be drawn before one comes again, and tells nothing new."""
        return math.inf

    @abstractmethod
    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw `count` tasks with `shots` support and `queries` query rows (of every class).

        Raises:
            InputError: If a task or class has too few rows.
        """

    @abstractmethod
    def joint(self, count: int, generator: torch.Generator) -> Joint:
        """At most `count` rows of all tasks together."""

    @abstractmethod
    def specimens(self, count: int, generator: torch.Generator) -> list[Examples]:
        """Rows of at most `count` different tasks (or classes), to see what they are like."""

    def check_shots(self, shots: int, queries: int) -> None:
        """Say what is wrong with a number of shots and queries, if anything."""
        if shots < 1 or queries < 1:
            raise InputError(
                f"Expected at least one shot and one query row, but got {shots} shots and "
                f"{queries} queries."
            )


def sample_without_replacement(
    sizes: Int[Tensor, "*pool"], count: int, generator: torch.Generator
) -> Int[Tensor, "*pool count"]:
    """`count` different numbers below each pool's size, which must be at least `count`.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> rows = sample_without_replacement(torch.tensor([3, 5]), 3, generator)
        >>> sorted(rows[0].tolist()), int(rows[1].max()) < 5
        ([0, 1, 2], True)
    """
    most = int(sizes.max())
    order = torch.rand(*sizes.shape, most, generator=generator)
    order = order.where(torch.arange(most) < sizes.unsqueeze(-1), 2.0)  # past the pool's end
    return order.topk(count, dim=-1, largest=False).indices
