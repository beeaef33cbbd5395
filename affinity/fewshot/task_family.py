"""Few-shot tasks with their own rows, such as schools, users or fields."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples, Task

from .episodes import Episodes
from .family import Family, sample_without_replacement


@dataclass(frozen=True, eq=False)
class TaskFamily(Family):
    """Tasks that predict the same quantity, each with its own rows.

    Args:
        rows: Rows of each task, with one target.
        predicts: Loss, metric and outputs of every task.

    Raises:
        InputError: If there are not as many names as sets of rows.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError
        >>> schools = [Examples(torch.randn(20, 3), torch.randn(20, 1)) for _ in range(6)]
        >>> family = TaskFamily(tuple("abcdef"), schools, Task("score", SquaredError(), RSquared()))
        >>> batch = family.draw(4, shots=5, queries=10, generator=torch.Generator().manual_seed(0))
        >>> tuple(batch.support_inputs.shape)
        (4, 5, 3)
    """

    names: Sequence[str]
    rows: Sequence[Examples]
    predicts: Task

    def __post_init__(self) -> None:
        if len(self.names) != len(self.rows) or not self.rows:
            raise InputError(
                f"Expected rows for each task, but got {len(self.names)} names and "
                f"{len(self.rows)} sets of rows.",
                "different-lengths",
            )

    @property
    def task(self) -> Task:
        """Loss, metric and outputs of every task."""
        return self.predicts

    @property
    def n_tasks(self) -> float:
        """Number of tasks."""
        return float(len(self.rows))

    @property
    def max_draws(self) -> float:
        """Every task once."""
        return self.n_tasks

    def check_shots(self, shots: int, queries: int) -> None:
        """Check that every task has enough rows."""
        super().check_shots(shots, queries)
        for name, rows in zip(self.names, self.rows, strict=True):
            if len(rows) < shots + queries:
                raise InputError(
                    f"Expected {shots + queries} rows of every task for {shots} shots and "
                    f"{queries} queries, but task {name!r} has {len(rows)}. Lower --shots or "
                    "--queries, or exclude the task.",
                    "too-few-rows",
                )

    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw tasks; all are drawn once before one is repeated."""
        self.check_shots(shots, queries)
        rounds = [
            torch.randperm(len(self.rows), generator=generator)
            for _ in range(-(-count // len(self.rows)))
        ]
        chosen = torch.cat(rounds)[:count]
        places = sample_without_replacement(self._sizes[chosen], shots + queries, generator)
        starts = self._sizes.cumsum(0) - self._sizes
        rows = starts[chosen].unsqueeze(1) + places
        inputs, targets = self._pooled.inputs[rows], self._pooled.targets[rows].squeeze(-1)
        return Episodes.split(inputs, targets, shots)

    def pooled_rows(self, count: int, generator: torch.Generator) -> Examples:
        """Rows of all tasks."""
        order = torch.randperm(len(self._pooled), generator=generator)[:count]
        return self._pooled.take(order)

    def example_tasks(self, count: int, generator: torch.Generator) -> list[Examples]:
        """The rows of some tasks."""
        chosen = torch.randperm(len(self.rows), generator=generator)[:count].tolist()
        return [self.rows[number] for number in chosen]

    @cached_property
    def _sizes(self) -> Int[Tensor, " task"]:
        return torch.tensor([len(rows) for rows in self.rows])

    @cached_property
    def _pooled(self) -> Examples:
        """All rows, task by task."""
        return Examples(
            torch.cat([rows.inputs for rows in self.rows]),
            torch.cat([rows.targets for rows in self.rows]),
        )
