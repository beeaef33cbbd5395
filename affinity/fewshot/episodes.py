"""Episodes: few-shot tasks with support rows to adapt to and query rows to evaluate on."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Episodes:
    """A batch of few-shot tasks of equal size, so that a method can adapt to all at once.

    Classes are numbered within their task, from 0 to the number of ways minus 1.

    Args:
        support_inputs: Rows to adapt to.
        support_targets: Their targets.
        query_inputs: Other rows of the same tasks, to evaluate on.
        query_targets: Their targets.

    Example:
        >>> import torch
        >>> batch = Episodes(torch.zeros(8, 5, 1), torch.zeros(8, 5),
        ...                  torch.zeros(8, 15, 1), torch.zeros(8, 15))
        >>> len(batch), [len(task.query_targets[0]) for task in batch][:2]
        (8, [15, 15])
    """

    support_inputs: Float[Tensor, "task support *feature"]
    support_targets: Float[Tensor, "task support"]
    query_inputs: Float[Tensor, "task query *feature"]
    query_targets: Float[Tensor, "task query"]

    @classmethod
    def split(
        cls,
        inputs: Float[Tensor, "task row *feature"],
        targets: Float[Tensor, "task row"],
        shots: int,
    ) -> "Episodes":
        """The first rows of each task as support, the others as query rows."""
        return cls(inputs[:, :shots], targets[:, :shots], inputs[:, shots:], targets[:, shots:])

    def __len__(self) -> int:
        return len(self.support_targets)

    def __iter__(self) -> Iterator["Episodes"]:
        """Each task as a batch of one."""
        for task in range(len(self)):
            yield Episodes(*(part[task : task + 1] for part in self.parts))

    def to(self, device: torch.device) -> "Episodes":
        """The same tasks on a device."""
        return Episodes(*(part.to(device) for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support inputs and targets, query inputs and targets."""
        return self.support_inputs, self.support_targets, self.query_inputs, self.query_targets

    @property
    def rows(self) -> int:
        """Support and query rows per task."""
        return self.support_targets.shape[1] + self.query_targets.shape[1]
