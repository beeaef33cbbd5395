"""First-order affinity: the lookahead predicted from inner products of gradients."""

from dataclasses import dataclass

from affinity.errors import InputError
from affinity.recording import Trace

from .gramians import gramians_of
from .matrix import AffinityMatrix
from .over_runs import Window, over_runs
from .relative import RatioMode, relative_change


@dataclass(frozen=True)
class FirstOrderAffinity:
    r"""The limit of inter-task affinity for small steps.

    .. math::
        Z^t_{i \to j} \approx \eta \, \frac{\langle g_i^t, g_j^t \rangle}{L_j^t}

    averaged over time. It needs Gramians only, no lookahead; the difference from the lookahead is
    the effect of curvature.

    Args:
        held_out: Use the target's gradient and loss on another batch than the source's gradient.
        layer: Use this layer's parameters alone, where the trace has layers.
        ratio, window, block: As for `InterTaskAffinity`.

    Raises:
        InputError: If the trace holds no Gramians or learning rates, or no held-out ones with
            `held_out=True`.

    References:
        Taylor's theorem on Fifty et al. (2021), equation 1; without momentum, the affinity of
        Ayman et al. (2026), ETAP.

    Example:
        >>> import torch
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0]),
        ...     losses=torch.tensor([[1.0, 2.0]]),
        ...     gramians=torch.tensor([[[4.0, -2.0], [-2.0, 4.0]]]),
        ...     learning_rates=torch.tensor([0.5]),
        ... )
        >>> FirstOrderAffinity()(trace).onto("edges")
        {'depth': -0.5}
    """

    held_out: bool = False
    layer: str | None = None
    ratio: RatioMode = "auto"
    window: Window | None = None
    block: int | None = None

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from the Gramians of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        products = trace.held_out_gramians if self.held_out else gramians_of(trace, self.layer)
        losses = trace.held_out_losses if self.held_out else trace.losses
        if products is None or losses is None or trace.learning_rates is None:
            which = "held-out Gramians and losses" if self.held_out else "Gramians"
            raise InputError(
                f"Expected a trace with {which} and learning rates, but some of them are missing.",
                "missing-in-trace",
            )
        return relative_change(
            trace.learning_rates[:, None, None] * products,
            losses,
            trace.tasks,
            ratio=self.ratio,
            estimator=repr(self),
            block=self.block,
        )
