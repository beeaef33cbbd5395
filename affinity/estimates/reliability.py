"""Reliability: how far a matrix would come out alike, were it estimated again."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Int
from scipy import stats
from torch import Tensor

from affinity.recording import Trace

from .matrix import AffinityMatrix


@dataclass(frozen=True)
class Reliability:
    """Agreement of two halves of the evidence, and what it says of the whole.

    Args:
        halves: Spearman correlation, over the pairs of different tasks, between the matrices
            from two halves.
        whole: What the Spearman-Brown formula makes of it for all the evidence:
            ``2 r / (1 + r)``. 1 says that the matrix would come out the same, 0 that it is noise.
            A correlation with anything else cannot be expected above the root of this.
        n_pairs: Pairs of tasks that both halves measured.
    """

    halves: float
    whole: float
    n_pairs: int


def split_half(
    trace: Trace, estimator: Callable[[Trace], AffinityMatrix], blocks: int = 10
) -> Reliability:
    """Estimate from every other block of time, and from the blocks between; compare.

    Alternate blocks, rather than an early and a late half: affinity changes as training goes on,
    and that change is no noise.

    Example:
        >>> from affinity.estimates import GradientCosine
        >>> gradients = torch.randn(200, 5, 9) + 2 * torch.randn(5, 9)  # their directions differ
        >>> trace = Trace(tuple("abcde"), torch.arange(200), torch.ones(200, 5),
        ...               gradients @ gradients.mT)
        >>> split_half(trace, GradientCosine()).whole > 0.9
        True
    """
    count = len(trace)
    blocks = max(2, min(blocks, count))
    block = torch.arange(count) * blocks // max(1, count)
    first, second = (
        estimator(_at(trace, (block % 2 == parity).nonzero().squeeze(1))) for parity in (0, 1)
    )
    apart = ~torch.eye(len(trace.tasks), dtype=torch.bool)
    both = apart & first.values.isfinite() & second.values.isfinite()
    one, other = first.values[both].numpy(), second.values[both].numpy()
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Reliability(halves=float("nan"), whole=float("nan"), n_pairs=len(one))
    halves = float(stats.spearmanr(one, other).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    whole = 2 * halves / (1 + halves) if halves > -1 else -float("inf")
    return Reliability(halves=halves, whole=max(-1.0, whole), n_pairs=len(one))


def _at(trace: Trace, times: Int[Tensor, " chosen"]) -> Trace:
    """The trace at these measurements alone."""
    chosen = {
        field.name: value[times]
        for field in fields(trace)
        if isinstance(value := getattr(trace, field.name), Tensor)
    }
    return replace(trace, **chosen)
