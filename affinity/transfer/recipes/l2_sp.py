"""L2-SP: fine-tuning that is drawn back to the source."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import TuningPlan

from .recipe import one_phase


@dataclass(frozen=True)
class L2SP:
    r"""Full fine-tuning with a penalty on the distance from the source.

    .. math::
        L + \frac{\alpha}{2} \lVert w - w_0 \rVert^2

    over the parameters that come from the source. At 0 it is full fine-tuning, towards infinity a
    linear probe. (The paper also draws the new head to 0; here that is the weight decay's part.)

    Args:
        pull: :math:`\alpha`.

    References:
        Li et al. (2018), `Explicit Inductive Bias for Transfer Learning with Convolutional
        Networks <https://arxiv.org/abs/1802.01483>`_, equation 3.

    Example:
        >>> L2SP(0.5)(["stem", "head"]).pull
        0.5
    """

    pull: float = 0.1

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        return one_phase("L2-SP", dict.fromkeys(blocks, 1.0), epochs, pull=self.pull)
