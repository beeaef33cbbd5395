"""Gradual unfreezing: the head first, then block by block towards the inputs."""

from collections.abc import Sequence
from dataclasses import dataclass

from affinity.transfer.tuning_plan import Phase, TuningPlan

from .recipe import check_share


@dataclass(frozen=True)
class GradualUnfreezing:
    """One phase a block: at first the head alone moves, at last everything.

    Args:
        share: Of the epochs that each phase but the last gets; the last gets the rest.

    Raises:
        InputError: If the share is not above 0 and at most 1.

    References:
        Howard and Ruder (2018), `Universal Language Model Fine-tuning for Text Classification
        <https://arxiv.org/abs/1801.06146>`_, section 3.3 (there an epoch a layer).

    Example:
        >>> for phase in GradualUnfreezing()(["stem", "body", "head"], epochs=10).phases:
        ...     print(phase.epochs, phase.scales)
        1 {'stem': 0.0, 'body': 0.0, 'head': 1.0}
        1 {'stem': 0.0, 'body': 1.0, 'head': 1.0}
        8 {'stem': 1.0, 'body': 1.0, 'head': 1.0}
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        check_share("share", self.share)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """A plan for these blocks."""
        each = max(1, round(self.share * epochs))
        phases = [
            Phase(
                f"{count} of {len(blocks)} blocks",
                {block: float(at >= len(blocks) - count) for at, block in enumerate(blocks)},
                each if count < len(blocks) else max(1, epochs - each * (count - 1)),
            )
            for count in range(1, len(blocks) + 1)
        ]
        return TuningPlan("gradual unfreezing", tuple(phases))
