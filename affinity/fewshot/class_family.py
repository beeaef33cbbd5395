"""N-way K-shot classification: tasks are small sets of classes, in random order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Accuracy, CrossEntropy, Examples, Task

from .episodes import Episodes
from .family import Family, Joint, sample_without_replacement


@dataclass(frozen=True, eq=False)
class ClassFamily(Family):
    """Tasks of `ways` classes each, drawn from these classes and numbered anew in every task.

    Args:
        inputs: One entry a row.
        labels: The number of each row's class in `classes`.
        classes: Names of the classes.
        ways: Classes a task.

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
        if self.ways < 2:
            raise InputError(f"Expected at least two ways, but got {self.ways}.")
        if self.ways > len(self.classes):
            raise InputError(
                f"Expected at least as many classes as ways, but got {self.ways} ways and "
                f"{len(self.classes)} classes: {list(self.classes)}. Lower --ways, or keep other "
                "classes for the meta-test."
            )
        empty = [name for name, count in zip(self.classes, self._counts, strict=True) if not count]
        if empty:
            raise InputError(
                f"Expected rows of every class, but {empty} have none. Leave them out."
            )

    @property
    def task(self) -> Task:
        """Classification among the ways."""
        name = f"{self.ways}-way classification"
        return Task(name, CrossEntropy(), Accuracy(), n_outputs=self.ways)

    @property
    def n_tasks(self) -> float:
        """Ordered choices of the ways."""
        return float(math.perm(len(self.classes), self.ways))

    def check_shots(self, shots: int, queries: int) -> None:
        """Say which class has too few rows, if one has."""
        super().check_shots(shots, queries)
        for name, count in zip(self.classes, self._counts, strict=True):
            if count < shots + queries:
                raise InputError(
                    f"Expected {shots} shots and {queries} queries of every class, "
                    f"{shots + queries} rows, but class {name!r} has {count} to draw from "
                    "(decisions and judgement share the rows of a meta-test class). Lower --shots "
                    "or --queries, or leave the class out."
                )

    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw tasks; rows are sorted by their class's number in the task."""
        self.check_shots(shots, queries)
        chosen = torch.rand(count, len(self.classes), generator=generator).argsort(dim=1)
        chosen = chosen[:, : self.ways]  # task way
        sizes = torch.tensor(self._counts)[chosen]
        place = sample_without_replacement(sizes, shots + queries, generator)
        rows = self._by_class[chosen.unsqueeze(-1), place]  # task way shot
        number = torch.arange(self.ways, dtype=self.inputs.dtype).view(1, -1, 1)
        targets = number.expand(count, self.ways, shots + queries)
        inputs = self.inputs[rows]
        return Episodes(
            support_inputs=inputs[:, :, :shots].flatten(1, 2),
            support_targets=targets[:, :, :shots].flatten(1, 2),
            query_inputs=inputs[:, :, shots:].flatten(1, 2),
            query_targets=targets[:, :, shots:].flatten(1, 2),
        )

    def joint(self, count: int, generator: torch.Generator) -> Joint:
        """All classes at once."""
        order = torch.randperm(len(self.labels), generator=generator)[:count]
        task = Task("all classes", CrossEntropy(), Accuracy(), n_outputs=len(self.classes))
        return Joint(
            task, Examples(self.inputs[order], self.labels[order].to(self.inputs).unsqueeze(1))
        )

    def specimens(self, count: int, generator: torch.Generator) -> list[Examples]:
        """Rows of each class; their targets say nothing."""
        chosen = torch.randperm(len(self.classes), generator=generator)[:count].tolist()
        mine = [self.inputs[self._by_class[at, : self._counts[at]]] for at in chosen]
        return [Examples(rows, rows.new_zeros(len(rows), 1)) for rows in mine]

    @cached_property
    def _counts(self) -> list[int]:
        return self.labels.bincount(minlength=len(self.classes)).tolist()

    @cached_property
    def _by_class(self) -> Int[Tensor, "class place"]:
        """Rows of every class, filled up with the first row."""
        rows = self.labels.new_zeros(len(self.classes), max(self._counts))
        for at, count in enumerate(self._counts):
            rows[at, :count] = (self.labels == at).nonzero().squeeze(1)
        return rows
