"""Registry of the ways to share, for plans, reports, the command line and tests."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from affinity.tasks import Task

from .attention import Attention
from .branched import Branched
from .conditioning import TaskConditioning
from .cross_stitch import CrossStitch
from .hard import HardSharing
from .mmoe import MMoE
from .separate import Separate
from .sharing import Head, Sharing, Trunk
from .soft import SoftSharing

MakeSharing = Callable[[tuple[Task, ...], Trunk, Head, Tensor], Sharing]
"""Makes a network from tasks, a trunk, heads, and a few rows of inputs (for their sizes)."""


@dataclass(frozen=True)
class SharingMethod:
    """A way to share with its usual settings; calling it makes a network.

    Args:
        label: Its name in reports.
        description: One line for lists and help.
        make: Makes the network.
        allows_one_task: Whether a plan may name it for a network of one task.
        is_default: Whether it is among the ways that `--sharing auto` compares.
    """

    label: str
    description: str
    make: MakeSharing
    allows_one_task: bool = False
    is_default: bool = False

    def __call__(
        self, tasks: tuple[Task, ...], trunk: Trunk, head: Head, sample: Tensor
    ) -> Sharing:
        """A new network for these tasks; sizes are read from `sample`, a few rows of inputs."""
        return self.make(tasks, trunk, head, sample)


def _width(trunk: Trunk, sample: Tensor) -> int:
    with torch.random.fork_rng():  # keeps the initialization of the trunk that is trained
        return trunk()(sample).shape[1]


SHARINGS: dict[str, SharingMethod] = {
    "hard": SharingMethod(
        "hard sharing",
        "One trunk for all tasks.",
        lambda tasks, trunk, head, _: HardSharing(tasks, trunk, head),
        is_default=True,
    ),
    "soft": SharingMethod(
        "soft sharing",
        "One trunk per task, with a penalty on the distances between them.",
        lambda tasks, trunk, head, _: SoftSharing(tasks, trunk, head),
        is_default=True,
    ),
    "mmoe": SharingMethod(
        "mixture of experts",
        "A mixture of experts with one gate per task.",
        lambda tasks, trunk, head, sample: MMoE(
            tasks, trunk, head, n_features=sample[0].numel(), gate_dropout=0.1
        ),
        is_default=True,
    ),
    "cross-stitch": SharingMethod(
        "cross-stitch",
        "One trunk per task, whose stages exchange features.",
        lambda tasks, trunk, head, _: CrossStitch(tasks, trunk, head),
        is_default=True,
    ),
    "separate": SharingMethod(
        "on its own",
        "One trunk per task; nothing is shared.",
        lambda tasks, trunk, head, _: Separate(tasks, trunk, head),
        allows_one_task=True,
        is_default=True,
    ),
    "conditioning": SharingMethod(
        "task conditioning",
        "One trunk, whose output is scaled and shifted per task.",
        lambda tasks, trunk, head, sample: TaskConditioning(
            tasks, trunk, head, width=_width(trunk, sample)
        ),
    ),
    "branched": SharingMethod(
        "branched trunk",
        "One trunk whose first stage is shared; the other stages exist once per task.",
        lambda tasks, trunk, head, _: Branched(tasks, trunk, head),
    ),
    "attention": SharingMethod(
        "task attention",
        "One trunk, from whose stages each task selects features with its own masks.",
        lambda tasks, trunk, head, sample: Attention(tasks, trunk, head, sample),
    ),
}
"""Every way to share; the only list of them."""
