"""Gradient cosine: whether the gradients of two tasks point in the same direction."""

from dataclasses import dataclass

import torch

from affinity.recording import Trace

from .averaging import average_over_time
from .gramians import gramians_of
from .matrix import AffinityMatrix
from .over_runs import Window, over_runs


@dataclass(frozen=True)
class GradientCosine:
    r"""Mean cosine between the gradients of two tasks on the shared parameters.

    .. math::
        A_{ij} = \frac{1}{T} \sum_{t=1}^{T}
                 \frac{\langle g_i^t, g_j^t \rangle}{\|g_i^t\| \, \|g_j^t\|}

    1: the gradients always have the same direction; -1: opposite directions; 0: they are
    orthogonal. Symmetric; the scales of the losses cancel. A task whose gradient vanishes at a
    step has no direction there: the step is missing for its pairs.

    Args:
        layer: Use this layer's parameters alone, where the trace has layers.
        window, block: As for `InterTaskAffinity`.

    Raises:
        InputError: If the trace holds no Gramians, or not that layer.

    References:
        Fifty et al. (2021), `Efficiently Identifying Task Groupings for Multi-Task Learning
        <https://arxiv.org/abs/2109.04617>`_, the baseline "CS"; Yu et al. (2020), `Gradient
        Surgery for Multi-Task Learning <https://arxiv.org/abs/2001.06782>`_, definition 1.

    Example:
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0]),
        ...     losses=torch.tensor([[1.0, 1.0]]),
        ...     gramians=torch.tensor([[[4.0, -2.0], [-2.0, 4.0]]]),
        ... )
        >>> GradientCosine()(trace).onto("edges")
        {'depth': -0.5}
    """

    layer: str | None = None
    window: Window | None = None
    block: int | None = None

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from the Gramians of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        gramians = gramians_of(trace, self.layer)  # time task task
        squared = gramians.diagonal(dim1=1, dim2=2)  # time task
        norms = squared.where(squared > 0, torch.nan).sqrt()
        cosines = gramians / (norms[:, :, None] * norms[:, None, :])
        return average_over_time(cosines, trace.tasks, estimator=repr(self), block=self.block)
