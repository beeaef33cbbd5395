"""An intervention: one change with everything else equal; those of a cause are its result."""

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

    with the loss L of the plan and S of the separate network, without and (primed) with the change.
    Separate networks are changed, too, if the change applies to them: a wider shared trunk is
    compared with wider separate trunks. A change that helps all networks equally is therefore not
    mistaken for a remedy. 0.1: a tenth of the separate network's loss is recovered; equal to the
    harm: the harm is gone; below 0: sharing does more harm than before.

    Args:
        name: What was changed, as "twice the width".
        evaluation: Recovered loss on selection rows, used for decisions; NaN without labels.
        parameters: Number of parameters of all networks, as a multiple of the plan's.
        passes: Backward passes per step, as a multiple of the plan's.
        decides: Whether a recovery by this change shows that its cause is at work.
        is_remedy: Whether it can be applied in practice; False if it only gives evidence.
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
        """Mean recovered loss over these tasks, per replicate."""
        recovered = self.evaluation if split == "evaluation" else self.test
        known = recovered[:, tasks]
        n_known = np.isfinite(known).sum(axis=1)
        total = np.nansum(known, axis=1)
        return np.divide(total, n_known, out=np.full(len(known), np.nan), where=n_known > 0)


@dataclass(frozen=True, eq=False)
class CauseResult:
    """The evidence for and against one cause of harm.

    Args:
        cause: A name in `CAUSES`.
        skipped: What could not be measured, and why.
    """

    cause: str
    evidence: tuple[str, ...] = ()
    changes: tuple[Intervention, ...] = ()
    skipped: tuple[str, ...] = ()
