"""Attention: one shared trunk; each task selects features of its stages with its own masks."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, per_task, stages_of, widths_of


class Attention(Sharing):
    r"""One trunk; a task masks the output of every stage and carries it to the next one.

    .. math::
        \hat{a}_k^{(j)} = \sigma(W_k^{(j)} [u^{(j)}; \hat{a}_k^{(j-1)}]) \odot u^{(j)}

    where :math:`u^{(j)}` is the output of stage j of the shared trunk; at the first stage the
    mask sees :math:`u^{(1)}` alone. The last masked output is the task's representation.

    Args:
        trunk: Makes the shared module: an `nn.Sequential` of at least two stages, each with one
            vector per row as output.
        sample: A few rows of inputs, from which the stages' sizes are read.

    Raises:
        InputError: If the trunk has no such stages.

    References:
        Liu et al. (2019), `End-to-End Multi-Task Learning with Attention
        <https://arxiv.org/abs/1803.10704>`_, equations 1 and 2, with one linear layer instead
        of the convolutions.
    """

    def __init__(self, tasks: Iterable[Task], trunk: Trunk, head: Head, sample: Tensor) -> None:
        tasks = tuple(tasks)
        super().__init__(tasks, head)
        self.trunk = trunk()
        stages = stages_of(self.trunk, "attention")
        with torch.no_grad():
            widths = widths_of(stages, sample, "attention")
        before = [0, *widths[:-1]]

        def masks(_: Task) -> nn.Module:
            return nn.ModuleList(
                nn.Linear(width + carried, width)
                for width, carried in zip(widths, before, strict=True)
            )

        self.masks = per_task(tasks, masks)

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The masked output of the last stage, for each task."""
        carried: list[Tensor | None] = [None] * len(self.names)
        hidden = inputs
        for number, stage in enumerate(stages_of(self.trunk, "attention")):
            hidden = stage(hidden)
            for task, masks in enumerate(self.masks):
                assert isinstance(masks, nn.ModuleList)
                before = carried[task]
                seen = hidden if before is None else torch.cat([hidden, before], dim=1)
                carried[task] = masks[number](seen).sigmoid() * hidden
        return tuple(masked for masked in carried if masked is not None)
