"""The trunk's last blocks start afresh: they may be too much the source's own."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import one_phase


@dataclass(frozen=True)
class ReinitializedLastLayer:
    """The last blocks of the trunk start afresh; everything is trained at the full rate.

    Args:
        count: How many blocks before the head; none is full fine-tuning, all is from scratch.

    References:
        Zhang et al. (2021), `Revisiting Few-sample BERT Fine-tuning
        <https://arxiv.org/abs/2006.05987>`_, section 5.

    Example:
        >>> ReinitializedLastLayer()(["stem", "body", "head"]).fresh
        ('body',)
    """

    count: int = 1

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        trunk = list(blocks[:-1])
        fresh = trunk[max(0, len(trunk) - self.count) :]
        return one_phase("re-initialized last layer", dict.fromkeys(blocks, 1.0), epochs, fresh)
