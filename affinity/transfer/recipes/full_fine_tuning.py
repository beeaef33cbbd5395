"""Full fine-tuning: everything moves at the full rate from where the source ended."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import one_phase


@dataclass(frozen=True)
class FullFineTuning:
    """Every block starts from the source and is trained at the full rate.

    Example:
        >>> FullFineTuning()(["stem", "head"]).phases[0].scales
        {'stem': 1.0, 'head': 1.0}
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        return one_phase("full fine-tuning", dict.fromkeys(blocks, 1.0), epochs)
