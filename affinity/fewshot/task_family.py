"""Few shots of many tasks: each task has rows of its own, as schools, users or fields have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples, Task

from .episodes import Episodes
from .family import Family, Joint, sample_without_replacement


@dataclass(frozen=True, eq=False)
class TaskFamily(Family):
    """Tasks that share what they predict, each with rows of its own.

    Args:
        names: The tasks' names.
        rows: Rows of each task, with one target.
        predicts: Loss, metric and outputs that the tasks have in common.

    Raises:
        InputError: If names and rows do not fit each other.

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
                f"Expected rows for each of the tasks, but got {len(self.names)} names and "
                f"{len(self.rows)} sets of rows."
            )

    @property
    def task(self) -> Task:
        """What the tasks have in common."""
        return self.predicts

    @property
    def n_tasks(self) -> float:
        """The tasks there are."""
        return float(len(self.rows))

    @property
    def most_draws(self) -> float:
        """Each task once."""
        return self.n_tasks

    def check_shots(self, shots: int, queries: int) -> None:
        """Say which task has too few rows, if one has."""
        super().check_shots(shots, queries)
        for name, rows in zip(self.names, self.rows, strict=True):
            if len(rows) < shots + queries:
                raise InputError(
                    f"Expected {shots} shots and {queries} queries of every task, "
                    f"{shots + queries} rows, but task {name!r} has {len(rows)}. Lower --shots or "
                    "--queries, or leave the task out."
                )

    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw tasks: different ones, as long as there are so many."""
        self.check_shots(shots, queries)
        rounds = [
            torch.randperm(len(self.rows), generator=generator)
            for _ in range(-(-count // len(self.rows)))
        ]
        chosen = torch.cat(rounds)[:count]
        sizes = self._sizes[chosen]
        place = sample_without_replacement(sizes, shots + queries, generator)
        together, starts = self._together
        rows = starts[chosen].unsqueeze(1) + place
        inputs, targets = together.inputs[rows], together.targets[rows].squeeze(-1)
        return Episodes(
            inputs[:, :shots], targets[:, :shots], inputs[:, shots:], targets[:, shots:]
        )

    def joint(self, count: int, generator: torch.Generator) -> Joint:
        """Rows of all tasks, as if they were one."""
        together, _ = self._together
        order = torch.randperm(len(together), generator=generator)[:count]
        return Joint(self.predicts, together.take(order))

    def specimens(self, count: int, generator: torch.Generator) -> list[Examples]:
        """The rows of some tasks."""
        chosen = torch.randperm(len(self.rows), generator=generator)[:count].tolist()
        return [self.rows[at] for at in chosen]

    @cached_property
    def _sizes(self) -> Int[Tensor, " task"]:
        return torch.tensor([len(rows) for rows in self.rows])

    @cached_property
    def _together(self) -> tuple[Examples, Int[Tensor, " task"]]:
        """All rows, and where each task's begin."""
        together = Examples(
            torch.cat([rows.inputs for rows in self.rows]),
            torch.cat([rows.targets for rows in self.rows]),
        )
        return together, self._sizes.cumsum(0) - self._sizes
