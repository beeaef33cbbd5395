"""Momentum affinity: the first-order effect of the step with the run's momentum (ETAP)."""

from dataclasses import dataclass

from affinity.errors import InputError
from affinity.recording import Trace

from .gramians import gramians_of
from .matrix import AffinityMatrix
from .over_runs import Window, over_runs
from .relative import RatioMode, relative_change


@dataclass(frozen=True)
class MomentumAffinity:
    r"""Effect of a step along the source's gradient, with the run's momentum, on the target.

    .. math::
        z^t_{i \to j} = \frac{\langle \nabla L_j^t, \; \eta \nabla L_i^t - \beta v^t \rangle}
                             {L_j^t}
        = \eta \, \frac{\langle g_i^t, g_j^t \rangle + \langle m^t, g_j^t \rangle}{L_j^t}

    averaged over time: the affinity score of ETAP. Its v is the velocity of heavy-ball momentum
    before the step; here it is :math:`-\eta m`, with m the sum of earlier gradients that the
    optimizer carries along (`carried_momentum`), so that SGD and the Adam family, which divides by
    its second moment only afterwards, are treated equally. The momentum's part is the same for
    every source: compared with first-order affinity it shifts targets, but never changes the order
    of the sources of one target.
    The released code divides by the learning rate; this is the paper's form.

    Args:
        ratio, window, block: As for `InterTaskAffinity`.

    Raises:
        InputError: If the trace holds no products of gradients with the optimizer's momentum.

    References:
        Ayman et al. (2026), `Ensemble Prediction of Task Affinity for Efficient Multi-Task Learning
        <https://arxiv.org/abs/2602.18591>`_, the affinity score.

    Example:
        >>> import torch
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0]),
        ...     losses=torch.tensor([[1.0, 2.0]]),
        ...     gramians=torch.tensor([[[4.0, -2.0], [-2.0, 4.0]]]),
        ...     learning_rates=torch.tensor([0.5]),
        ...     momentum_products=torch.tensor([[0.0, 4.0]]),
        ... )
        >>> MomentumAffinity()(trace).onto("edges")  # 0.5 (4 - 2) / 2
        {'depth': 0.5}
    """

    ratio: RatioMode = "auto"
    window: Window | None = None
    block: int | None = None

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from Gramians and momentum products of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        if trace.momentum_products is None or trace.learning_rates is None:
            raise InputError(
                "Expected a trace with products of gradients and momentum, but this one has none: "
                "record with Recorder(optimizer=...) of SGD or of the Adam family, at the level of "
                "parameters. Without momentum, FirstOrderAffinity is the same.",
                "missing-in-trace",
            )
        products = gramians_of(trace) + trace.momentum_products[:, None, :]  # time source target
        return relative_change(
            trace.learning_rates[:, None, None] * products,
            trace.losses,
            trace.tasks,
            ratio=self.ratio,
            estimator=repr(self),
            block=self.block,
        )
