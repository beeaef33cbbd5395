"""Task family: the distribution that few-shot tasks are drawn from."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import check_number
from affinity.tasks import Examples, RSquared, SquaredError, Task

from .episodes import Episodes


class Family(ABC):
    """Draws few-shot tasks. Meta-training and meta-test tasks come from two families."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """Loss, metric and number of outputs of every few-shot task of the family."""

    @property
    @abstractmethod
    def n_tasks(self) -> float:
        """Number of different tasks; infinite for generated tasks."""

    @property
    def max_draws(self) -> float:
        """Number of tasks that can be drawn before one is repeated."""
        return math.inf

    @property
    def pooled_task(self) -> Task:
        """All tasks as one ordinary task, for pretraining: a regression, or all classes at once."""
        return self.task

    @abstractmethod
    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw `count` tasks with `shots` support and `queries` query rows (per class).

        Raises:
            InputError: If a task or class has too few rows.
        """

    @abstractmethod
    def pooled_rows(self, count: int, generator: torch.Generator) -> Examples:
        """Up to `count` rows of all tasks, for `pooled_task`."""

    @abstractmethod
    def example_tasks(self, count: int, generator: torch.Generator) -> list[Examples]:
        """The rows of up to `count` different tasks (or classes)."""

    def check_shots(self, shots: int, queries: int) -> None:
        """Check that every task or class has enough rows.

        Raises:
            InputError: If one has too few, or a number is below 1.
        """
        check_number("the number of shots", shots, "invalid-shots", least=1)
        check_number("the number of query rows", queries, "invalid-shots", least=1)


class GeneratedRegressions(Family):
    """Regressions with generated tasks and rows; subclasses generate them."""

    rows_per_task: ClassVar[int] = 1  # rows of each task among the pooled rows

    @abstractmethod
    def generate(
        self, count: int, rows: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "task row feature"], Float[Tensor, "task row"]]:
        """Inputs and targets of `count` new tasks."""

    @property
    def task(self) -> Task:
        """A regression with squared error."""
        return Task("value", SquaredError(), RSquared())

    @property
    def n_tasks(self) -> float:
        """Infinite."""
        return math.inf

    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Generate tasks and rows."""
        self.check_shots(shots, queries)
        return Episodes.split(*self.generate(count, shots + queries, generator), shots)

    def pooled_rows(self, count: int, generator: torch.Generator) -> Examples:
        """A few rows of each of many tasks."""
        n_tasks = -(-count // self.rows_per_task)
        inputs, targets = self.generate(n_tasks, self.rows_per_task, generator)
        return Examples(inputs.flatten(0, 1)[:count], targets.flatten()[:count].unsqueeze(1))

    def example_tasks(self, count: int, generator: torch.Generator) -> list[Examples]:
        """New tasks with 50 rows each."""
        return [
            Examples(inputs, targets.unsqueeze(1))
            for inputs, targets in zip(*self.generate(count, 50, generator), strict=True)
        ]


def sample_without_replacement(
    sizes: Int[Tensor, "*pool"], count: int, generator: torch.Generator
) -> Int[Tensor, "*pool count"]:
    """`count` different numbers below the size of each pool, which must be at least `count`."""
    largest = int(sizes.max())
    order = torch.rand(*sizes.shape, largest, generator=generator)
    order = order.where(torch.arange(largest) < sizes.unsqueeze(-1), 2.0)  # beyond the pool's size
    return order.topk(count, dim=-1, largest=False).indices
