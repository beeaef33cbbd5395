"""Over runs: one matrix from several seeds, with the standard error between seeds."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch

from affinity.errors import InputError
from affinity.recording import Trace

from .matrix import AffinityMatrix

Window = Literal["early", "late"] | tuple[int, int | None]
"""The first or last third of a run's measurements, or those from one step to before another."""


def over_runs(
    trace: Trace, window: Window | None, estimate: Callable[[Trace], AffinityMatrix]
) -> AffinityMatrix:
    """Estimate from each run of the trace within the window, and combine."""
    runs = runs_of(trace)
    if len(runs) == 1:
        return estimate(within(trace, window))
    return combine([estimate(within(run, window)) for run in runs])


def within(trace: Trace, window: Window | None) -> Trace:
    """The measurements of one run in the window; all of them if None.

    Affinity can change sign during training: near a joint optimum the gradients of related tasks
    cancel.
    """
    if window is None:
        return trace
    if isinstance(window, str):
        count = max(1, len(trace) // 3)
        times = torch.arange(len(trace))
        return trace.at(times[:count] if window == "early" else times[-count:])
    first, end = window
    inside = trace.steps >= first
    if end is not None:
        inside &= trace.steps < end
    if not inside.any():
        measured = (int(trace.steps.min()), int(trace.steps.max())) if len(trace) else "none"
        raise InputError(
            f"Expected measurements from step {first} to before {end}, but the trace holds those "
            f"of steps {measured}.",
            "missing-in-trace",
        )
    return trace.at(inside.nonzero().squeeze(1))


def runs_of(trace: Trace) -> list[Trace]:
    """The runs of a trace, each as a trace of its own.

    Example:
        >>> from affinity.recording import merge_traces
        >>> one = Trace(("a", "b"), torch.tensor([0]), torch.tensor([[1.0, 2.0]]))
        >>> len(runs_of(merge_traces([one, one])))
        2
    """
    if trace.runs is None:
        return [trace]
    return [trace.at((trace.runs == run).nonzero().squeeze(1)) for run in trace.runs.unique()]


def combine(matrices: Sequence[AffinityMatrix]) -> AffinityMatrix:
    r"""The mean of matrices of independent runs, with a standard error from run to run.

    .. math::
        \mathrm{se}^2 = \max\Big(\frac{s^2}{R}, \; \frac{1}{R^2} \sum_r \mathrm{se}_r^2\Big)

    with the variance s² between the R runs of a pair, which includes the variation between seeds
    and between steps; the second term prevents it from being too small where few runs agree by
    chance. A pair that some runs did not measure averages the others. With two or three runs the
    error is rough: `seed_to_seed` measures how well whole matrices agree.

    Raises:
        InputError: If there are none, or of other tasks or estimators.

    Example:
        >>> one, other = (AffinityMatrix(("a", "b"), torch.full((2, 2), v)) for v in (1.0, 3.0))
        >>> combined = combine([one, other])
        >>> combined.between("a", "b"), combined.standard_error[0, 1].item()
        (2.0, 1.0)
    """
    if not matrices:
        raise InputError("Expected at least one matrix to combine, but got none.", "no-matrices")
    first = matrices[0]
    others = {(m.tasks, m.estimator) for m in matrices} - {(first.tasks, first.estimator)}
    if others:
        raise InputError(
            f"Expected matrices of one estimator and the same tasks to combine, but got "
            f"{first.estimator} of {first.tasks} and {others}.",
            "different-tasks",
        )
    values = torch.stack([matrix.values.double() for matrix in matrices])  # run source target
    known = values.isfinite()
    count = known.sum(dim=0)
    values = values.where(known, 0.0)
    mean = values.sum(dim=0) / count
    between = (values - mean).where(known, 0.0).square().sum(dim=0) / (count - 1) / count
    variance = between.where(count > 1, torch.nan)
    if all(matrix.standard_error is not None for matrix in matrices):
        errors = torch.stack([matrix.standard_error for matrix in matrices]).double()  # pyright: ignore[reportCallIssue, reportArgumentType]
        within_runs = errors.square().where(known, 0.0).nan_to_num().sum(dim=0) / count.square()
        variance = torch.maximum(variance, within_runs)
    return AffinityMatrix(
        tasks=first.tasks,
        values=mean,
        standard_error=variance.sqrt(),
        n_steps=_total(matrices),
        estimator=first.estimator,
    )


def _total(matrices: Sequence[AffinityMatrix]) -> torch.Tensor | None:
    counts = [matrix.n_steps for matrix in matrices if matrix.n_steps is not None]
    return torch.stack(counts).sum(dim=0) if len(counts) == len(matrices) else None
