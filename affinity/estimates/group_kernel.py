"""The group kernel: how alike what two tasks gain in two groups is expected to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEAR = 2.0
"""Groups that differ in this many tasks resemble each other to 37 %."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Tasks in groups: what is measured, or to be predicted.

    Args:
        task: The task that is judged, by its column.
        group: Which tasks are trained together with it, itself included.
        features: What else may foretell the gain, by name: a number a cell, as large as the mean
            affinity onto the task from its partners.
    """

    task: Int[Tensor, " cell"]
    group: Bool[Tensor, "cell task"]
    features: Mapping[str, Float[Tensor, " cell"]]

    def __len__(self) -> int:
        return len(self.task)

    def take(self, rows: Int[Tensor, " chosen"]) -> "Cells":
        """The chosen cells, in the order given."""
        features = {name: values[rows] for name, values in self.features.items()}
        return Cells(self.task[rows], self.group[rows], features)

    @cached_property
    def partners(self) -> Float[Tensor, "cell task"]:
        """Who trains with the task, as a vector of length 1; of length 0 where it is alone."""
        others = self.group.double()
        others[torch.arange(len(self)), self.task] = 0.0
        return others / others.sum(dim=1, keepdim=True).clamp(min=1.0).sqrt()

    @cached_property
    def is_shared(self) -> Float[Tensor, " cell"]:
        """1 where the task has partners, else 0."""
        return (self.group.sum(dim=1) > 1).double()

    @cached_property
    def size(self) -> Float[Tensor, " cell"]:
        """0 for a task alone, 1 for all in one, in between by the logarithm."""
        n_tasks = self.group.shape[1]
        return self.group.sum(dim=1).double().log() / torch.tensor(float(max(n_tasks, 2))).log()


def components(a: Cells, b: Cells) -> dict[str, Float[Tensor, "a b"]]:
    """Each reason why two gains may be alike, as a covariance of about 1; 0 for tasks alone.

    - ``any`` and ``size``: that there are partners at all, and how many (capacity);
    - ``source``: who the partners are, for every target alike;
    - ``partner``: who the partners are, for each target by itself;
    - ``mutual``: that two tasks do to each other what they do, either way;
    - ``group`` : that groups with nearly the same tasks do nearly the same;
    - one a feature.

    Those that end in ``of task`` are for each task by itself, the others shared by all.
    """
    same = (a.task[:, None] == b.task).double()
    shared = torch.outer(a.is_shared, b.is_shared)
    size = torch.outer(a.size, b.size)
    partners = a.partners @ b.partners.T
    common = a.group.double() @ b.group.double().T
    distance = a.group.sum(dim=1)[:, None] + b.group.sum(dim=1) - 2 * common
    near = shared * torch.exp(-distance / NEAR)
    # The weight of b's task among a's partners, times that of a's task among b's.
    crossed = a.partners[:, b.task] * b.partners[:, a.task].T
    return {
        "any": shared,
        "any of task": shared * same,
        "size": size,
        "size of task": size * same,
        "source": partners,
        "partner of task": partners * same,
        "mutual": partners * same + crossed,
        "group": near,
        "group of task": near * same,
        **{name: torch.outer(a.features[name], b.features[name]) for name in a.features},
    }
