"""Layer-wise learning-rate decay: the closer to the inputs, the slower."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import check_share, one_phase


@dataclass(frozen=True)
class LayerwiseDecay:
    r"""Each block moves at a share of the rate of the next one.

    .. math::
        s_k = d^{K - k}, \qquad k = 1, \dots, K

    counted from the inputs, so that the head has the full rate.

    Args:
        decay: :math:`d`; 1 is full fine-tuning.

    Raises:
        InputError: If the decay is not above 0 and at most 1.

    References:
        Howard and Ruder (2018), `Universal Language Model Fine-tuning for Text Classification
        <https://arxiv.org/abs/1801.06146>`_, section 3.2 (discriminative fine-tuning, with
        :math:`d = 1/2.6`).

    Example:
        >>> LayerwiseDecay(0.5)(["stem", "body", "head"]).phases[0].scales
        {'stem': 0.25, 'body': 0.5, 'head': 1.0}
    """

    decay: float = 0.5

    def __post_init__(self) -> None:
        check_share("decay", self.decay)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        last = len(blocks) - 1
        scales = {block: self.decay ** (last - at) for at, block in enumerate(blocks)}
        return one_phase("layer-wise decay", scales, epochs)
