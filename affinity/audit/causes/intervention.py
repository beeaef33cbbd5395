"""A change: one thing done otherwise, everything else equal, and what it recovered of the harm."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Split = Literal["evaluation", "test"]


@dataclass(frozen=True, eq=False)
class Intervention:
    r"""What a change recovered, replicate by replicate.

    .. math::
        \text{recovered}_j = \frac{(L_j - S_j) - (L'_j - S'_j)}{\overline{S}_j}

    with the loss L of the arrangement and S of the separate network, as they are and with the
    change. Separate networks are changed as well where it concerns them: wider ones beside a wider
    shared trunk, so that what helps every network is not taken for a cure of sharing. 0.1 says
    that a tenth of the separate network's loss is back; as much as the harm, that the harm is
    gone; below 0, that sharing does more harm.

    Args:
        name: What was changed, as "twice the width".
        advice: What to do, in one line.
        evaluation: Recovered on evaluation rows, which decide; NaN without labels.
        test: Recovered on test rows.
        parameters: Of all networks, as a multiple of those of the arrangement.
        passes: Backward passes a step, as a multiple.
        decides: Whether recovering by this change shows that its cause is at work.
        is_remedy: Whether one can do it, rather than learn from it.
    """

    name: str
    advice: str
    evaluation: Float[np.ndarray, "replicate task"]
    test: Float[np.ndarray, "replicate task"]
    parameters: float = 1.0
    passes: float = 1.0
    decides: bool = True
    is_remedy: bool = True

    @property
    def cost(self) -> float:
        """About what a training step costs, as a multiple: parameters times passes."""
        return self.parameters * self.passes

    def on(self, split: Split, tasks: list[int]) -> Float[np.ndarray, " replicate"]:
        """Mean over these tasks of what was recovered, a replicate."""
        recovered = self.evaluation if split == "evaluation" else self.test
        return np.nanmean(recovered[:, tasks], axis=1)
