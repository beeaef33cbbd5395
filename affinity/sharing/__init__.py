"""Ways in which tasks share parameters, as plain modules that predict every task at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from affinity.tasks import Task

from .attention import Attention
from .branched import Branched
from .check_fit import check_fit
from .conditioning import TaskConditioning
from .cost import Cost, cost_of, match_parameters
from .cross_stitch import CrossStitch
from .gate_health import GateHealth, gate_health
from .hard import HardSharing
from .mmoe import MMoE
from .perceptron import Perceptron
from .separate import Separate
from .sharing import Head, Sharing, Trunk
from .soft import SoftSharing

MakeSharing = Callable[[tuple[Task, ...], Trunk, Head, Tensor], Sharing]
"""Makes a network from tasks, a trunk, heads, and a few rows of inputs to read sizes from."""


def _width(trunk: Trunk, sample: Tensor) -> int:
    with torch.random.fork_rng():  # the trunk that is trained starts as it would elsewhere
        return trunk()(sample).shape[1]


SHARINGS: dict[str, MakeSharing] = {
    "hard": lambda tasks, trunk, head, _: HardSharing(tasks, trunk, head),
    "separate": lambda tasks, trunk, head, _: Separate(tasks, trunk, head),
    "soft": lambda tasks, trunk, head, _: SoftSharing(tasks, trunk, head),
    "mmoe": lambda tasks, trunk, head, sample: MMoE(
        tasks, trunk, head, n_features=sample[0].numel(), gate_dropout=0.1
    ),
    "cross-stitch": lambda tasks, trunk, head, _: CrossStitch(tasks, trunk, head),
    "conditioning": lambda tasks, trunk, head, sample: TaskConditioning(
        tasks, trunk, head, width=_width(trunk, sample)
    ),
    "branched": lambda tasks, trunk, head, _: Branched(tasks, trunk, head),
    "attention": lambda tasks, trunk, head, sample: Attention(tasks, trunk, head, sample),
}
"""Every way of sharing, with its usual settings."""

__all__ = [
    "SHARINGS",
    "Attention",
    "Branched",
    "Cost",
    "CrossStitch",
    "GateHealth",
    "HardSharing",
    "Head",
    "MMoE",
    "MakeSharing",
    "Perceptron",
    "Separate",
    "Sharing",
    "SoftSharing",
    "TaskConditioning",
    "Trunk",
    "check_fit",
    "cost_of",
    "gate_health",
    "match_parameters",
]
