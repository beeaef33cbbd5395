"""From scratch: the source is left aside; what every transfer is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import one_phase


@dataclass(frozen=True)
class FromScratch:
    """Every block starts afresh and is trained at the full rate.

    Example:
        >>> FromScratch()(["stem", "head"]).fresh
        ('stem', 'head')
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        return one_phase("from scratch", dict.fromkeys(blocks, 1.0), epochs, fresh=blocks)
