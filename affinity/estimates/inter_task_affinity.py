"""Inter-task affinity: the effect of a step along one task's gradient on another task's loss."""

from dataclasses import dataclass

from affinity.errors import InputError
from affinity.recording import StepKind, Trace

from .matrix import AffinityMatrix
from .over_runs import Window, over_runs
from .relative import RatioMode, relative_change


@dataclass(frozen=True)
class InterTaskAffinity:
    r"""Mean relative fall of the target's loss after a step along the source's gradient alone.

    .. math::
        Z^t_{i \to j} = 1 - \frac{L_j(X^t, \theta^{t+1}_{s|i}, \theta^t_j)}
                                 {L_j(X^t, \theta^t_s, \theta^t_j)}, \qquad
        \theta^{t+1}_{s|i} = \theta^t_s - \eta \nabla_{\theta_s} L_i

    averaged over the measured steps at which both losses are known. 0.1: the source's step reduces
    the target's loss by a tenth; below 0, the step increases it. The size is proportional to the
    learning rate of the step. The released code divides by it; this is the paper's form.
    Recorded with ``step="optimizer"``, the step is the one that the run's own optimizer would take.

    Args:
        held_out: Evaluate the target on another batch than that of the gradient; a gradient and
            a loss from one batch share their noise.
        step: Take traces of this step only: ``"gradient"``, as in the formula, or ``"optimizer"``.
            None takes either.
        ratio: ``"steps"``, the mean over steps of ratios, as in the formula; ``"means"``, the ratio
            of means over steps; ``"auto"``, the latter where the target's loss is near 0 at single
            steps, with a warning (see `relative_change`).
        window: Part of each run: the ``"early"`` or ``"late"`` third of its measurements, or
            ``(first, end)``, the steps from `first` to before `end`.
        block: Number of consecutive measurements that are resampled together for the standard
            error; by default it follows from their autocorrelation.

    Raises:
        InputError: If the trace holds no lookahead losses, or no held-out ones with
            `held_out=True`.

    References:
        Fifty et al. (2021), `Efficiently Identifying Task Groupings for Multi-Task Learning
        <https://arxiv.org/abs/2109.04617>`_, equation 1.

    Example:
        >>> import torch
        >>> trace = Trace(
        ...     tasks=("depth", "edges"),
        ...     steps=torch.tensor([0, 10]),
        ...     losses=torch.tensor([[1.0, 2.0], [1.0, 2.0]]),
        ...     lookahead_losses=torch.tensor([[[0.5, 1.0], [2.0, 1.0]]] * 2),
        ... )
        >>> InterTaskAffinity()(trace).onto("edges"), InterTaskAffinity()(trace).onto("depth")
        ({'depth': 0.5}, {'edges': -1.0})
    """

    held_out: bool = False
    step: StepKind | None = None
    ratio: RatioMode = "auto"
    window: Window | None = None
    block: int | None = None

    def __call__(self, trace: Trace) -> AffinityMatrix:
        """Estimate the affinity matrix from the lookahead losses of `trace`."""
        return over_runs(trace, self.window, self._of_run)

    def _of_run(self, trace: Trace) -> AffinityMatrix:
        after = trace.held_out_lookahead_losses if self.held_out else trace.lookahead_losses
        before = trace.held_out_losses if self.held_out else trace.losses
        if after is None or before is None:
            which = "held-out lookahead losses" if self.held_out else "lookahead losses"
            raise InputError(
                f"Expected a trace with {which}, but this one has none: pass a closure to "
                "`Recorder.observe`, which evaluates the losses again after each lookahead step.",
                "missing-in-trace",
            )
        _check_step(trace, self.step)
        return relative_change(
            before[:, None, :] - after,
            before,
            trace.tasks,
            ratio=self.ratio,
            estimator=repr(self),
            block=self.block,
        )


def _check_step(trace: Trace, step: StepKind | None) -> None:
    is_optimizer = trace.optimizer_steps
    if step is None or (is_optimizer is None and step == "gradient"):
        return
    if is_optimizer is None or bool((is_optimizer != (step == "optimizer")).any()):
        raise InputError(
            f"Expected a trace of which every lookahead took the step {step!r}: record with "
            f'Recorder(step="{step}").',
            "missing-in-trace",
        )
