"""Preconditioned Gramian: inner products of gradients, with directions of high curvature damped."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import check_number
from affinity.recording import Trace

from .averaging import average_over_time
from .gramians import gramians_of
from .matrix import AffinityMatrix
from .over_runs import Window, over_runs


@dataclass(frozen=True)
class PreconditionedGramian:
    r"""Inner products of tasks' gradients, preconditioned by an empirical Fisher matrix.

    The mean of :math:`g_i^\top (F + \lambda I)^{-1} g_j` over steps. F is made from the gradients
    of the tasks at the step, :math:`\frac{1}{K} \sum_k g_k g_k^\top`, and is block-diagonal over
    the layers of the trace, if it has layers. With
    :math:`G_{ij} = \langle g_i, g_j \rangle` of a layer,

    .. math::
        A_{ij} = \frac{1}{T} \sum_t \sum_{\text{layers}}
                 \big[ G \, (\lambda I + G / K)^{-1} \big]_{ij},
        \qquad \lambda = \frac{\text{damping}}{K} \sum_k G_{kk},

    so that the trace's Gramians are enough, and the unit of the losses cancels. With a large
    damping, A is proportional to the Gramian divided by the mean squared norm of the step's
    gradients. With a small one, a direction in which all tasks have large gradients counts as
    much as any other. Symmetric.

    This F has the rank of the number of tasks: it holds no curvature that the tasks' mean gradients
    do not show, unlike a Fisher matrix of single rows. An inner product that is missing at a step
    counts as 0 in F.

    Args:
        damping: :math:`\lambda` relative to the mean squared norm of the gradients.
        layer: Use this layer's parameters alone, where the trace has layers.
        window, block: As for `InterTaskAffinity`.

    Raises:
        InputError: If the damping is not above 0, or the trace holds no Gramians, or not that
            layer.

    References:
        Grosse et al. (2023), `Studying Large Language Model Generalization with Influence
        Functions <https://arxiv.org/abs/2308.03296>`_, equation 8, for single rows and a
        Kronecker-factored F.

    Example:
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0]),
        ...     losses=torch.tensor([[1.0, 1.0]]),
        ...     gramians=torch.tensor([[[1.0, 0.5], [0.5, 1.0]]]),
        ... )
        >>> round(PreconditionedGramian(damping=0.5)(trace).between("depth", "edges"), 3)
        0.267
    """

    damping: float = 1.0
    layer: str | None = None
    window: Window | None = None
    block: int | None = None

    def __post_init__(self) -> None:
        check_number("damping", self.damping, above=0)

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from the Gramians of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        whole = gramians_of(trace, self.layer)
        by_layer = whole[:, None]
        if self.layer is None and trace.layer_gramians is not None:
            by_layer = trace.layer_gramians
        values = self._precondition(by_layer.double()).sum(dim=1).where(~whole.isnan(), torch.nan)
        return average_over_time(values, trace.tasks, estimator=repr(self), block=self.block)

    def _precondition(
        self, gramians: Float[Tensor, "time layer task task"]
    ) -> Float[Tensor, "time layer task task"]:
        squared = gramians.diagonal(dim1=-2, dim2=-1)  # time layer task
        count = squared.isfinite().sum(dim=-1, keepdim=True).clamp(min=1)
        damping = self.damping * squared.nan_to_num().sum(dim=-1, keepdim=True) / count
        values, vectors = torch.linalg.eigh(gramians.nan_to_num())
        values = values.clamp(min=0)  # a sketched Gramian may have some below 0
        # A layer without any gradient has a damping of 0, and contributes nothing.
        scaled = values / (damping + values / count).where(damping > 0, 1.0)
        return (vectors * scaled[..., None, :]) @ vectors.mT
