"""Episodes: few-shot tasks with support rows to adapt on and query rows to be judged on."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Episodes:
    """A batch of few-shot tasks, all with as many rows, so that they can be adapted to at once.

    Classes are numbered within their task: 0, 1, ... up to the ways.

    Args:
        support_inputs: Rows to adapt on.
        support_targets: Their targets.
        query_inputs: Rows of the same tasks to be judged on; none of them is a support row.
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

    def __len__(self) -> int:
        return len(self.support_targets)

    def __iter__(self) -> Iterator["Episodes"]:
        """One task after another, each as a batch of one."""
        for at in range(len(self)):
            yield Episodes(*(part[at : at + 1] for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Support inputs and targets, query inputs and targets."""
        return self.support_inputs, self.support_targets, self.query_inputs, self.query_targets
