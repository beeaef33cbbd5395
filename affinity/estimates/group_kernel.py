"""Group kernel: the prior covariance of two tasks' gains in two groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEAR = 2.0  # groups that differ in this many tasks have a correlation of 1/e


@dataclass(frozen=True, eq=False)
class Cells:
    """Tasks in groups, whose gains are measured or predicted.

    Where tasks are many, a cell stands for a block of tasks that are always trained together, and
    its gain is their mean gain; "task" then means block. A block may hold a single task.
    """

    task: Int[Tensor, " cell"]  # whose gain it is, by its column
    group: Bool[Tensor, "cell task"]  # trained together with it, itself included
    # other predictors of the gain, on the scale of the partners' mean affinity
    features: Mapping[str, Float[Tensor, " cell"]]
    sizes: Float[Tensor, " task"]  # tasks in each block
    is_alone: Bool[Tensor, " cell"]  # alone in its network, without the others of its block

    def __len__(self) -> int:
        return len(self.task)

    def take(self, rows: Int[Tensor, " chosen"]) -> "Cells":
        """The chosen cells, in the order given."""
        features = {name: values[rows] for name, values in self.features.items()}
        return Cells(self.task[rows], self.group[rows], features, self.sizes, self.is_alone[rows])

    @cached_property
    def n_partners(self) -> Float[Tensor, "cell task"]:
        """How many of the partners of a task are in each block."""
        return partners_of(self.group, self.task, self.sizes, self.is_alone)

    @cached_property
    def partners(self) -> Float[Tensor, "cell task"]:
        """The task's partners as a vector of length 1; the zero vector for a task alone."""
        lengths = self.n_partners.square().sum(dim=1, keepdim=True).sqrt()
        return self.n_partners / lengths.clamp(min=1.0)

    @cached_property
    def is_shared(self) -> Float[Tensor, " cell"]:
        """1 where the task has partners, else 0."""
        return (self.n_partners.sum(dim=1) > 0).double()

    @cached_property
    def size(self) -> Float[Tensor, " cell"]:
        """0 for a task alone, 1 for all in one, in between by the logarithm."""
        n_tasks = self.sizes.sum().clamp(min=2)
        return (self.n_partners.sum(dim=1) + 1).log() / n_tasks.log()


def components(a: Cells, b: Cells) -> dict[str, Float[Tensor, "a b"]]:
    """The components of the covariance of two gains, each of about 1; 0 for tasks alone.

    - ``any`` and ``size``: having partners at all, and their number (capacity);
    - ``source``: the identity of the partners, the same for every target;
    - ``partner``: the identity of the partners, for each target separately;
    - ``mutual``: two tasks affect each other equally;
    - ``group``: groups of nearly the same tasks have nearly the same gains;
    - one component per feature.

    Those that end in ``of task`` are separate for each task, the others common to all.
    """
    same = (a.task[:, None] == b.task).double()
    shared = torch.outer(a.is_shared, b.is_shared)
    size = torch.outer(a.size, b.size)
    partners = a.partners @ b.partners.T
    common = a.group.double() @ b.group.double().T  # blocks in both groups
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


def partners_of(
    group: Bool[Tensor, "cell task"],
    task: Int[Tensor, " cell"],
    sizes: Float[Tensor, " task"],
    is_alone: Bool[Tensor, " cell"],
) -> Float[Tensor, "cell task"]:
    """How many of the partners of a task are in each block; its own block has one task less."""
    partners = group.double() * sizes
    partners[torch.arange(len(task)), task] -= 1
    return partners * ~is_alone[:, None]
