"""N-way K-shot classification: each task is a random choice of N classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError, check_number
from affinity.tasks import Accuracy, CrossEntropy, Examples, Task
from affinity.words import shorten

from .episodes import Episodes
from .family import Family, sample_without_replacement


@dataclass(frozen=True, eq=False)
class ClassFamily(Family):
    """Tasks with `ways` classes each, which are drawn from `classes` and numbered in random order.

    Args:
        labels: The index of each row's class in `classes`.
        ways: Classes per task.

    Raises:
        InputError: If there are fewer classes than ways, or a class has no rows.

    Example:
        >>> labels = torch.arange(4).repeat(10)
        >>> family = ClassFamily(torch.randn(40, 3), labels, tuple("abcd"), ways=3)
        >>> batch = family.draw(8, shots=2, queries=4, generator=torch.Generator().manual_seed(0))
        >>> tuple(batch.support_inputs.shape), batch.query_targets[0].tolist()
        ((8, 6, 3), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    """

    inputs: Float[Tensor, "row *feature"]
    labels: Int[Tensor, " row"]
    classes: Sequence[str]
    ways: int

    def __post_init__(self) -> None:
        check_number("ways", self.ways, "too-few-ways", least=2)
        if self.ways > len(self.classes):
            raise InputError(
                f"Expected at least as many classes as ways, but got {self.ways} ways and "
                f"{len(self.classes)} classes: {list(self.classes)}. Lower --ways, or choose other "
                "classes for the meta-test.",
                "too-few-classes",
            )
        empty = [name for name, count in zip(self.classes, self._counts, strict=True) if not count]
        if empty:
            raise InputError(
                f"Expected rows of every class, but {shorten(map(repr, empty))} have none. Remove "
                "them.",
                "empty-class",
            )

    @property
    def task(self) -> Task:
        """A classification of the ways."""
        name = f"{self.ways}-way classification"
        return Task(name, CrossEntropy(), Accuracy(), n_outputs=self.ways)

    @property
    def n_tasks(self) -> float:
        """Number of ordered choices of the ways."""
        return float(math.perm(len(self.classes), self.ways))

    def check_shots(self, shots: int, queries: int) -> None:
        """Check that every class has enough rows."""
        super().check_shots(shots, queries)
        for name, count in zip(self.classes, self._counts, strict=True):
            if count < shots + queries:
                raise InputError(
                    f"Expected {shots + queries} rows of every class for {shots} shots and "
                    f"{queries} queries, but class {name!r} has {count} (the rows of a meta-test "
                    "class are split between validation and test). Lower --shots or --queries, or "
                    "exclude the class.",
                    "too-few-rows",
                )

    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw tasks; rows are sorted by class."""
        self.check_shots(shots, queries)
        chosen = torch.rand(count, len(self.classes), generator=generator).argsort(dim=1)
        chosen = chosen[:, : self.ways]  # task way
        sizes = torch.tensor(self._counts)[chosen]
        places = sample_without_replacement(sizes, shots + queries, generator)
        rows = self._by_class[chosen.unsqueeze(-1), places]  # task way shot
        number = torch.arange(self.ways, dtype=self.inputs.dtype).view(1, -1, 1)
        targets = number.expand(count, self.ways, shots + queries)
        inputs = self.inputs[rows]
        return Episodes(
            support_inputs=inputs[:, :, :shots].flatten(1, 2),
            support_targets=targets[:, :, :shots].flatten(1, 2),
            query_inputs=inputs[:, :, shots:].flatten(1, 2),
            query_targets=targets[:, :, shots:].flatten(1, 2),
        )

    @property
    def pooled_task(self) -> Task:
        """A classification of all classes."""
        return Task("all classes", CrossEntropy(), Accuracy(), n_outputs=len(self.classes))

    def pooled_rows(self, count: int, generator: torch.Generator) -> Examples:
        """Rows of all classes."""
        order = torch.randperm(len(self.labels), generator=generator)[:count]
        return Examples(self.inputs[order], self.labels[order].to(self.inputs).unsqueeze(1))

    def example_tasks(self, count: int, generator: torch.Generator) -> list[Examples]:
        """Rows of each class, with constant targets."""
        chosen = torch.randperm(len(self.classes), generator=generator)[:count].tolist()
        inputs = [self.inputs[self._by_class[label, : self._counts[label]]] for label in chosen]
        return [Examples(rows, rows.new_zeros(len(rows), 1)) for rows in inputs]

    @cached_property
    def _counts(self) -> list[int]:
        return self.labels.bincount(minlength=len(self.classes)).tolist()

    @cached_property
    def _by_class(self) -> Int[Tensor, "class place"]:
        """Rows of every class, padded with row 0."""
        rows = self.labels.new_zeros(len(self.classes), max(self._counts))
        for label, count in enumerate(self._counts):
            rows[label, :count] = (self.labels == label).nonzero().squeeze(1)
        return rows
