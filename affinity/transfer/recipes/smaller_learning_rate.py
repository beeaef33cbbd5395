"""A smaller learning rate for what comes from the source."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import check_share, constant, one_phase


@dataclass(frozen=True)
class SmallerLearningRate:
    """The trunk moves at a share of the rate at which the head does.

    Args:
        scale: That share; 1 is full fine-tuning, towards 0 it becomes a linear probe.

    Raises:
        InputError: If the scale is not above 0 and at most 1.

    Example:
        >>> SmallerLearningRate(0.5)(["stem", "head"]).phases[0].scales
        {'stem': 0.5, 'head': 1.0}
    """

    scale: float = 0.1

    def __post_init__(self) -> None:
        check_share("scale", self.scale)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        return one_phase("smaller learning rate", constant(blocks, self.scale), epochs)
