"""Reliability: how well a matrix would be reproduced by a second estimate."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from affinity.errors import check_number, check_same
from affinity.recording import Trace
from affinity.statistics import spearman

from .matrix import AffinityMatrix
from .over_runs import runs_of
from .relative import RatioWarning


@dataclass(frozen=True)
class Reliability:
    """Agreement of estimates from parts of the data, and its extrapolation to all of it.

    Args:
        parts: Spearman correlation, over the pairs of different tasks, between the matrices
            from two parts; the mean over pairs of parts, where there are more.
        whole: The same for all n parts together by the Spearman-Brown formula,
            ``n r / (1 + (n - 1) r)``. 1: the matrix would be reproduced exactly; 0: it is noise.
            The expected correlation with anything else is at most the square root of this.
        n_pairs: Pairs of tasks that all parts measured.
    """

    parts: float
    whole: float
    n_pairs: int


def split_half(
    trace: Trace, estimator: Callable[[Trace], AffinityMatrix], blocks: int = 10
) -> Reliability:
    """Compare the estimates from alternate blocks of time.

    Alternate blocks are used, not an early and a late half, because affinity changes during
    training and this change is not noise. The result is about this run only; another seed may give
    a different matrix (`seed_to_seed`).

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
    halves = [(block % 2 == parity).nonzero().squeeze(1) for parity in (0, 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatioWarning)  # the estimate from the whole trace warns
        return _agreement([estimator(trace.at(half)) for half in halves])


def seed_to_seed(
    traces: Sequence[Trace] | Trace, estimator: Callable[[Trace], AffinityMatrix]
) -> Reliability:
    """Compare the estimates from each run.

    Args:
        traces: Traces of runs with different seeds (and rows), or one trace of several runs.

    Raises:
        InputError: If there are fewer than two runs.

    Example:
        >>> from affinity.estimates import GradientCosine
        >>> gradients = torch.randn(2, 50, 5, 9)  # two runs of noise
        >>> runs = [Trace(tuple("abcde"), torch.arange(50), torch.ones(50, 5), each @ each.mT)
        ...         for each in gradients]
        >>> abs(seed_to_seed(runs, GradientCosine()).parts) < 0.9
        True
    """
    traces = [traces] if isinstance(traces, Trace) else traces
    runs = [run for trace in traces for run in runs_of(trace)]
    check_number("the number of runs to compare", len(runs), "too-few-runs", least=2)
    return _agreement([estimator(run) for run in runs])


def _agreement(matrices: Sequence[AffinityMatrix]) -> Reliability:
    tasks = matrices[0].tasks
    for matrix in matrices:
        check_same("the tasks of each run", matrix.tasks, tasks, "different-tasks")
    values = torch.stack([matrix.values.double() for matrix in matrices])
    known = ~torch.eye(len(tasks), dtype=torch.bool) & values.isfinite().all(dim=0)
    parts = values[:, known].numpy()  # part pair
    n_pairs = parts.shape[1]
    if n_pairs < 3 or (np.ptp(parts, axis=1) == 0).any():
        return Reliability(parts=float("nan"), whole=float("nan"), n_pairs=n_pairs)
    mean = float(np.mean([spearman(one, other) for one, other in combinations(parts, 2)]))
    count = len(matrices)
    shared = 1 + (count - 1) * mean
    whole = count * mean / shared if shared > 0 else -float("inf")
    return Reliability(parts=mean, whole=max(-1.0, whole), n_pairs=n_pairs)
