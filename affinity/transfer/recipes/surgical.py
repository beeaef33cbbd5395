"""Surgical fine-tuning: the one block that the shift is in, or all as the gradients say."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.errors import InputError
from affinity.transfer.tuning_plan import Phase, TuningPlan

from .recipe import one_phase

AUTOMATIC = "by gradient"


@dataclass(frozen=True)
class SurgicalFineTuning:
    r"""One block moves (with the head, where it is new); by default the gradients say how much.

    Shifts of the inputs are mended by the first blocks, of features by the middle ones, of labels
    by the last. Automatic, each block's rate is scaled by its relative gradient norm

    .. math::
        \mathrm{RGN}_k = \lVert \nabla_k L \rVert / \lVert \theta_k \rVert

    over the largest one (Auto-RGN).

    Args:
        block: ``first``, ``middle``, ``last`` (of all blocks, the head included), the name of a
            block, or ``by gradient``.
        head: Whether the head moves at the full rate in any case, because it is new.

    References:
        Lee et al. (2023), `Surgical Fine-Tuning Improves Adaptation to Distribution Shifts
        <https://arxiv.org/abs/2210.11466>`_, sections 2 and 4. There the norms are of each tensor;
        here of each block.

    Example:
        >>> SurgicalFineTuning("first")(["stem", "body", "head"]).phases[0].scales
        {'stem': 1.0, 'body': 0.0, 'head': 1.0}
        >>> SurgicalFineTuning()(["stem", "body", "head"]).phases[0].by_gradient
        ('stem', 'body')
    """

    block: str = AUTOMATIC
    head: bool = True

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks.

        Raises:
            InputError: If there is no block of this name.
        """
        if self.block == AUTOMATIC:
            moving = tuple(blocks[:-1] if self.head else blocks)
            phase = Phase("tuning", dict.fromkeys(blocks, 1.0), epochs, moving)
            return TuningPlan("surgical fine-tuning", (phase,))
        named = {"first": blocks[0], "middle": blocks[(len(blocks) - 1) // 2], "last": blocks[-1]}
        chosen = self.block if self.block in blocks else named.get(self.block)
        if chosen is None:
            raise InputError(
                f"Expected a block among {list(blocks)}, or {[*named, AUTOMATIC]}, but got "
                f"{self.block!r}."
            )
        scales = dict.fromkeys(blocks, 0.0) | {chosen: 1.0}
        if self.head:
            scales[blocks[-1]] = 1.0
        return one_phase(f"surgical fine-tuning of {chosen}", scales, epochs)
