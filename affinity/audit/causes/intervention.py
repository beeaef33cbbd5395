"""An intervention: one thing changed, everything else equal, and how much harm it removes."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

Split = Literal["evaluation", "test"]


@dataclass(frozen=True, eq=False)
class Intervention:
    r"""How much of the harm a change recovered, per replicate and task.

    .. math::
        \text{recovered}_j = \frac{(L_j - S_j) - (L'_j - S'_j)}{\overline{S}_j}

    with the loss L of the plan and S of the separate network, without and (primed) with the
    change. Separate networks are changed as well where it concerns them: a wider shared trunk is
    compared with wider separate trunks, so that what helps every network is not mistaken for a
    remedy. 0.1 means that a tenth of the separate network's loss is recovered; a value equal to
    the harm, that the harm is gone; below 0, that sharing does more harm.

    Args:
        name: What was changed, as "twice the width".
        advice: What to do, in one line.
        evaluation: Recovered on evaluation rows, which decide; NaN without labels.
        test: Recovered on test rows.
        parameters: Of all networks, as a multiple of those of the plan.
        passes: Backward passes per step, as a multiple.
        decides: Whether recovering by this change shows that its cause is at work.
        is_remedy: Whether it can be done, rather than only learned from.
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
        """Approximate cost of a training step, as a multiple: parameters times passes."""
        return self.parameters * self.passes

    def on(self, split: Split, tasks: list[int]) -> Float[np.ndarray, " replicate"]:
        """Mean recovered over these tasks, per replicate."""
        recovered = self.evaluation if split == "evaluation" else self.test
        return np.nanmean(recovered[:, tasks], axis=1)
