"""How the tasks of a network should share: the way that was measured to be best, at equal size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .plan import Sharing


@dataclass(frozen=True, eq=False)
class MeasuredSharing:
    """What one way to share was worth to a group of tasks, at as many parameters as hard sharing.

    Args:
        sharing: The way.
        gains: Mean over the tasks of the gain over hard sharing on evaluation rows, a replicate;
            0 for hard sharing itself.
        test_gains: The same on test rows; the choice does not look at it.
        veto: Why this way is not to be taken whatever it gains, as gates that no longer choose.
    """

    sharing: Sharing
    gains: Float[np.ndarray, " replicate"]
    test_gains: Float[np.ndarray, " replicate"]
    veto: str | None = None


def choose_sharing(measured: Sequence[MeasuredSharing]) -> tuple[Sharing, str]:
    """The way to share, and the reason in words.

    Another way than hard sharing, the simplest one, is taken where its mean gain over it is the
    largest, is larger than its standard error, and is not vetoed. A gain within its error is most
    likely the luck of having tried several.

    Args:
        measured: Every way that was tried, hard sharing among them.

    Example:
        >>> ways = [
        ...     MeasuredSharing("hard", np.zeros(3), np.zeros(3)),
        ...     MeasuredSharing("mmoe", np.array([0.04, 0.05, 0.06]), np.zeros(3)),
        ...     MeasuredSharing("soft", np.array([-0.3, 0.1, 0.5]), np.zeros(3), "too slow"),
        ... ]
        >>> choose_sharing(ways)[0]
        'mmoe'
    """
    n_replicates = len(measured[0].gains)
    mean = {each.sharing: float(np.mean(each.gains)) for each in measured}
    error = {each.sharing: _error(each.gains) for each in measured}
    allowed: list[Sharing] = [
        each.sharing for each in measured if each.veto is None or each.sharing == "hard"
    ]
    best: Sharing = max(allowed, key=lambda way: mean[way])
    tried = ", ".join(
        f"{each.sharing} {100 * mean[each.sharing]:+.1f} \N{PLUS-MINUS SIGN} "
        f"{100 * error[each.sharing]:.1f} %"
        for each in sorted(measured, key=lambda each: -mean[each.sharing])
        if each.sharing != "hard"
    )
    text = (
        f"Gains over hard sharing at equal parameters, {n_replicates} replicates, with standard "
        f"errors: {tried}. "
    )
    vetoed = [f"{each.sharing} is out: {each.veto}. " for each in measured if each.veto is not None]
    if best != "hard" and mean[best] > error[best]:
        return best, text + "".join(vetoed) + f"So {best}, the best by more than its error."
    return "hard", text + "".join(vetoed) + (
        "None gains more than its error, so hard, the simplest."
        if best != "hard"
        else "None gains anything, so hard."
    )


def _error(gains: np.ndarray) -> float:
    if len(gains) < 2:
        return math.inf
    return float(np.std(gains, ddof=1) / np.sqrt(len(gains)))
