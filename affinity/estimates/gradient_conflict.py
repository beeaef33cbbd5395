"""Gradient conflict: how often the gradients of two tasks point in opposite directions."""

from dataclasses import dataclass

from affinity.recording import Trace

from .averaging import average_over_time
from .gramians import gramians_of
from .matrix import AffinityMatrix
from .over_runs import Window, over_runs


@dataclass(frozen=True)
class GradientConflict:
    r"""Negative fraction of measured steps at which two tasks' gradients conflict.

    .. math::
        A_{ij} = -\frac{1}{T} \sum_{t=1}^{T} \mathbf{1}[\langle g_i^t, g_j^t \rangle < 0]

    0: the two tasks never conflict; -1: they conflict at every step. Symmetric.

    Args:
        layer: Use this layer's parameters alone, where the trace has layers.
        window, block: As for `InterTaskAffinity`.

    Raises:
        InputError: If the trace holds no Gramians, or not that layer.

    References:
        Yu et al. (2020), `Gradient Surgery for Multi-Task Learning
        <https://arxiv.org/abs/2001.06782>`_, definition 1.

    Example:
        >>> import torch
        >>> gramians = torch.tensor([[[4.0, -2.0], [-2.0, 4.0]], [[4.0, 1.0], [1.0, 4.0]]])
        >>> trace = Trace(("depth", "edges"), torch.arange(2), torch.ones(2, 2), gramians)
        >>> GradientConflict()(trace).onto("edges")
        {'depth': -0.5}
    """

    layer: str | None = None
    window: Window | None = None
    block: int | None = None

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from the Gramians of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        gramians = gramians_of(trace, self.layer)
        conflicts = (gramians < 0).to(gramians.dtype)
        known = conflicts.where(~gramians.isnan(), float("nan"))
        return average_over_time(0.0 - known, trace.tasks, estimator=repr(self), block=self.block)
