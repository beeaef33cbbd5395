"""Measured sharing: choosing how a network's tasks share, by measured gains at equal size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from affinity.sharing import SharingSettings
from affinity.words import listed


@dataclass(frozen=True, eq=False)
class MeasuredSharing:
    """The gain of one way to share for a group of tasks, at the parameter count of hard sharing.

    Args:
        gains: Mean gain over the tasks compared with hard sharing on validation rows, one per
            replicate; 0 for hard sharing itself.
        test_gains: The same on test rows; not used by the choice.
        settings: Settings of the way, chosen on validation rows.
        note: Remark on these settings, for the reason.
        veto: Why this way must not be chosen whatever it gains, such as collapsed gates.
    """

    sharing: str
    gains: Float[np.ndarray, " replicate"]
    test_gains: Float[np.ndarray, " replicate"]
    veto: str | None = None
    settings: SharingSettings = field(default_factory=dict[str, float | int | str])
    note: str = ""


def choose_sharing(measured: Sequence[MeasuredSharing], tolerance: float = 0.0) -> tuple[str, str]:
    """The way to share, and the reason in words.

    Hard sharing, the simplest way, is replaced by the way of the largest mean gain over it, if that
    gain is larger than its standard error and the tolerance, and the way is not vetoed. A gain
    smaller than its error is probably only selection bias from trying several ways.

    Args:
        measured: Every way that was tried, hard sharing among them.
        tolerance: A mean gain or loss up to this counts as equal.

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
    mean = {way.sharing: float(np.mean(way.gains)) for way in measured}
    error = {way.sharing: standard_error(way.gains) for way in measured}
    allowed = [way.sharing for way in measured if way.veto is None or way.sharing == "hard"]
    best = max(allowed, key=mean.__getitem__)
    tried = ", ".join(
        f"{sharing} {100 * mean[sharing]:+.1f} \N{PLUS-MINUS SIGN} {100 * error[sharing]:.1f} %"
        for sharing in sorted(mean, key=lambda sharing: -mean[sharing])
        if sharing != "hard" and math.isfinite(mean[sharing])
    )
    text = (
        f"Gains over hard sharing at equal parameters, {n_replicates} replicates, with standard "
        f"errors: {tried}. "
    )
    text += "".join(f"{way.note} " for way in measured if way.note)
    vetoed = [f"{way.sharing} is excluded: {way.veto}. " for way in measured if way.veto]
    needed = {way: max(error[way], tolerance) for way in allowed}
    least = f" and {100 * tolerance:g} %" if tolerance else ""
    if best != "hard" and mean[best] > needed[best]:
        return best, text + "".join(
            vetoed
        ) + f"Chosen: {best}, whose gain exceeds its error{least}."
    equal = [way for way in allowed if way != "hard" and abs(mean[way]) <= needed[way]]
    reason = (
        f"{listed(equal)} {'is' if len(equal) == 1 else 'are'} not distinguishable from it"
        if equal
        else "no other way gains"
    )
    return "hard", text + "".join(vetoed) + f"Chosen: hard, since {reason}."


def standard_error(gains: Float[np.ndarray, " replicate"]) -> float:
    """Of the mean over replicates; infinite for a single one."""
    if len(gains) < 2:
        return math.inf
    return float(np.std(gains, ddof=1) / np.sqrt(len(gains)))
