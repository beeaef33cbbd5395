"""Signal cosine: the cosine of the expected gradients, without the noise of their batches."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.recording import Trace

from .averaging import average_over_time
from .matrix import AffinityMatrix
from .over_runs import Window, over_runs


@dataclass(frozen=True)
class SignalCosine:
    r"""Cosine of two tasks' expected gradients, from gradients on two independent batches.

    .. math::
        A_{ij} = \frac{\sum_t \langle g_i^t, h_j^t \rangle}
                      {\sqrt{\sum_t \langle g_i^t, h_i^t \rangle
                             \sum_t \langle g_j^t, h_j^t \rangle}}

    with g on the run's batch and h on the held-out one. Two gradients of one batch share its
    noise: it adds to their norms and, where the tasks share rows, to their inner product. Across
    batches the noise is independent, so the sums estimate the true inner products without bias. The
    numerator averages both directions. A task whose estimated signal is not above 0 has no
    direction: its pairs are NaN. The ratio itself may exceed 1 by chance.

    Args:
        window, block: As for `InterTaskAffinity`.

    Raises:
        InputError: If the trace holds no held-out Gramians.

    Example:
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0]),
        ...     losses=torch.ones(1, 2),
        ...     held_out_gramians=torch.tensor([[[4.0, -3.0], [-1.0, 4.0]]]),
        ... )
        >>> SignalCosine()(trace).onto("edges")
        {'depth': -0.5}
    """

    window: Window | None = None
    block: int | None = None

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from the held-out Gramians of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        if trace.held_out_gramians is None:
            raise InputError(
                "Expected a trace with held-out Gramians, but this one has none: pass held_out=... "
                "to `Recorder.observe`, which evaluates the losses on a second batch.",
                "missing-in-trace",
            )
        products = trace.held_out_gramians.double()
        products = (products + products.mT) / 2  # both directions estimate the same
        known = products.isfinite()
        mean = products.where(known, 0.0).sum(dim=0) / known.sum(dim=0)
        norms = _norms(mean)
        # The error is that of the ratio to first order: of its numerator and both norms.
        value = mean / (norms[:, None] * norms[None, :])
        squared = mean.diagonal()
        terms = products.diagonal(dim1=1, dim2=2) / squared  # time task
        influence = (
            products / (norms[:, None] * norms[None, :])
            - value * (terms[:, :, None] + terms[:, None, :] - 2) / 2
        )
        average = average_over_time(influence, trace.tasks, estimator=repr(self), block=self.block)
        return AffinityMatrix(
            tasks=trace.tasks,
            values=value,
            standard_error=average.standard_error,
            n_steps=average.n_steps,
            estimator=repr(self),
        )


def _norms(mean: Float[Tensor, "task task"]) -> Float[Tensor, " task"]:
    squared = mean.diagonal()
    return squared.where(squared > 0, torch.nan).sqrt()
