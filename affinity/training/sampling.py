"""Sampling: which rows, of which tasks, make a batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import check_choice, check_number
from affinity.tasks import Examples


@runtime_checkable
class Sampling(Protocol):
    """Turns the rows of an epoch, in its order, into batches."""

    def __call__(
        self, examples: Examples, order: Int[Tensor, " row"], size: int, seed: int
    ) -> Iterator[Examples]:
        """The batches of an epoch, of about `size` rows."""
        ...


@dataclass(frozen=True)
class JointBatches:
    """One batch for all tasks: every row is used once per epoch, with all its labels."""

    def __call__(
        self, examples: Examples, order: Int[Tensor, " row"], size: int, seed: int
    ) -> Iterator[Examples]:
        """Cut the order into batches."""
        del seed
        for batch in order.split(size):
            yield examples.take(batch)


SAMPLINGS = ("joint", "uniform", "proportional", "temperature")
"""Names of `make_sampling`."""


def make_sampling(name: str, temperature: float = 2.0) -> Sampling:
    """A sampling by name.

    Args:
        name: ``joint``, all tasks in each batch; or one task per batch, sampled ``uniform``,
            ``proportional`` to its rows, or in between by a ``temperature`` above 1.
        temperature: Of ``temperature``; not used otherwise.

    Raises:
        InputError: If the name is unknown, or the temperature not positive.

    Example:
        >>> make_sampling("uniform")
        TaskBatches(tasks=1, temperature=inf)
    """
    check_choice("the task sampling", name, SAMPLINGS, "unknown-sampling")
    if name == "joint":
        return JointBatches()
    temperatures = {"uniform": math.inf, "proportional": 1.0}
    return TaskBatches(temperature=temperatures.get(name, temperature))


@dataclass(frozen=True)
class TaskBatches:
    r"""Tasks are sampled first, then rows from each sampled task's own data.

    Task k is sampled with a probability proportional to :math:`n_k^{1/\tau}`, where :math:`n_k` is
    how many rows are labelled for it: by size at :math:`\tau = 1`, uniformly at
    :math:`\tau = \infty`. A sampled task's rows count for it alone. An epoch has as many batches
    as with `JointBatches`.

    Args:
        tasks: How many tasks a batch is made of, without replacement.
        temperature: :math:`\tau`.

    Raises:
        InputError: If a setting is not positive.
    """

    tasks: int = 1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_number("tasks per batch", self.tasks, "invalid-sampling", least=1)
        check_number("the temperature", self.temperature, "invalid-sampling", above=0)

    def __call__(
        self, examples: Examples, order: Int[Tensor, " row"], size: int, seed: int
    ) -> Iterator[Examples]:
        """Sample batches; each task goes through its rows in the epoch's order, again and again."""
        generator = torch.Generator().manual_seed(seed)
        labelled = examples.labelled.cpu()[order]
        rows = [order[labelled[:, task]] for task in range(labelled.shape[1])]
        counts = torch.tensor([float(len(task_rows)) for task_rows in rows])
        logits = counts.log() / self.temperature  # 0 / 0 if a task has no row
        chance = logits.where(counts > 0, -math.inf).softmax(dim=0)
        count = min(self.tasks, int((counts > 0).sum()))
        each = math.ceil(size / count)
        position = [0] * len(rows)
        for _ in range(math.ceil(len(order) / size)):
            chosen: list[Tensor] = []
            sampled: list[Tensor] = []
            for task in torch.multinomial(chance, count, generator=generator).tolist():
                places = (torch.arange(each) + position[task]) % len(rows[task])
                position[task] += each
                # A task with few rows gives each of them once.
                taken = rows[task][places[: len(rows[task])]]
                chosen.append(taken)
                sampled.append(torch.full((len(taken),), task))
            batch = examples.take(torch.cat(chosen))
            is_sampled = torch.cat(sampled)[:, None] == torch.arange(len(rows))
            is_other = ~is_sampled.to(batch.targets.device)
            yield replace(batch, targets=batch.targets.masked_fill(is_other, math.nan))
