"""Linear probe, then fine-tuning (LP-FT): a head that fits before the trunk moves."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import Phase, TuningPlan

from .recipe import check_share, constant


@dataclass(frozen=True)
class ProbeThenTune:
    """A linear probe, and from there full fine-tuning at a smaller rate.

    A new head sends large, arbitrary gradients into the trunk and distorts its representation; a
    head that fits already does not.

    Args:
        share: Of the epochs, for the probe.
        scale: Of the learning rate in the second phase.

    Raises:
        InputError: If a setting is not above 0 and at most 1.

    References:
        Kumar et al. (2022), `Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution <https://arxiv.org/abs/2202.10054>`_, section 4.

    Example:
        >>> for phase in ProbeThenTune()(["stem", "head"], epochs=10).phases:
        ...     print(phase.name, phase.epochs, phase.scales)
        probe 5 {'stem': 0.0, 'head': 1.0}
        tuning 5 {'stem': 0.1, 'head': 0.1}
    """

    share: float = 0.5
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_share("share", self.share)
        check_share("scale", self.scale)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        probe = max(1, round(self.share * epochs))
        return TuningPlan(
            "linear probe then fine-tuning",
            (
                Phase("probe", constant(blocks, 0.0), probe),
                Phase("tuning", dict.fromkeys(blocks, self.scale), max(1, epochs - probe)),
            ),
        )
