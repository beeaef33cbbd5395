"""Linear probe: the source's representation as it is, under a new head."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import constant, one_phase


@dataclass(frozen=True)
class LinearProbe:
    """The trunk stays bit for bit; the head alone is trained.

    It tells how much of the target the source's representation holds already, and cannot make it
    worse.

    Example:
        >>> LinearProbe()(["stem", "head"]).phases[0].scales
        {'stem': 0.0, 'head': 1.0}
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        return one_phase("linear probe", constant(blocks, 0.0), epochs)
