"""Relative change: the change of the target's loss by a step, relative to that loss."""

import warnings
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import AffinityWarning
from affinity.words import shorten

from .averaging import average_over_time
from .matrix import AffinityMatrix

RatioMode = Literal["auto", "steps", "means"]  # mean of ratios, ratio of means, or by target


class RatioWarning(AffinityWarning):
    """Affinities onto some tasks are ratios of means, not means of ratios."""


NEIGHBOURS = 11
NEAR_ZERO = 0.05


def relative_change(
    changes: Float[Tensor, "time source target"],
    losses: Float[Tensor, "time target"],
    tasks: tuple[str, ...],
    *,
    ratio: RatioMode,
    estimator: str,
    block: int | None,
) -> AffinityMatrix:
    r"""Average the relative reduction of the target's loss over time.

    .. math::
        \text{steps:} \; \frac{1}{T} \sum_t \frac{\Delta_{ij}^t}{|L_j^t|}, \qquad
        \text{means:} \; \frac{\sum_t \Delta_{ij}^t}{\sum_t |L_j^t|}

    The size of the loss, |L|, stands in the denominator, as in `affinity.tasks.Score.gain`, so that
    the sign is right for losses below 0, too.

    The papers take the mean over steps of ratios. Where a batch holds one or two rows of a task,
    its loss comes near 0 at some steps by chance, and the mean of the ratios is dominated by these
    few steps; its expectation may not exist. The ratio of means weights steps by the target's loss.
    ``"auto"`` uses it, with a warning, for the targets whose loss at some step is below a twentieth
    of the median of the eleven measurements around; for the others it uses the papers' mean.
    """
    changes, losses = changes.double(), losses.double().abs()
    is_auto = ratio == "auto"
    by_means = torch.tensor(
        [_comes_near_zero(column) if is_auto else ratio == "means" for column in losses.T]
    )
    if is_auto and by_means.any():
        _warn([task for task, is_near in zip(tasks, by_means.tolist(), strict=True) if is_near])
    # The ratio of means to first order: its own mean over time, whose error is that of the ratio.
    losses = losses[:, None, :].expand_as(changes)
    known = changes.isfinite() & losses.isfinite()
    total = losses.where(known, 0.0).sum(dim=0)
    value = changes.where(known, 0.0).sum(dim=0) / total
    influence = value + (changes - value * losses) * known.sum(dim=0) / total
    ratios = torch.where(by_means, influence, changes / losses)
    return average_over_time(ratios, tasks, estimator=estimator, block=block)


def _comes_near_zero(losses: Float[Tensor, " time"]) -> bool:
    losses = losses[losses.isfinite()]
    if len(losses) < 3:
        return False
    side = NEIGHBOURS // 2
    padded = torch.cat([losses[:1].expand(side), losses, losses[-1:].expand(side)])
    around = padded.unfold(0, NEIGHBOURS, 1).median(dim=1).values
    return bool((losses < NEAR_ZERO * around).any())


def _warn(tasks: list[str]) -> None:
    named = shorten(map(repr, tasks), 3)
    message = (
        f"The loss of {named} is near 0 at single steps, as in batches with few of a task's rows, "
        "and these steps would dominate a mean of ratios. Affinities onto these tasks are ratios "
        'of means instead. ratio="steps" forces the mean of ratios; ratio="means" avoids this '
        "warning."
    )
    warnings.warn(RatioWarning(message, "loss-near-zero"), stacklevel=6)
