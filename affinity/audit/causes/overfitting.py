"""Overfitting: separate networks learn few rows by heart, and sharing more would help."""

from dataclasses import dataclass, replace

from affinity.recommendation import Plan

from .context import DiagnosisContext, PlanLosses
from .intervention import CauseResult


@dataclass(frozen=True)
class Overfitting:
    """Compare losses on training and selection rows, and train all tasks in one network.

    Overfitting is at work if the plan's loss on training rows is far below that on selection rows,
    and more sharing recovers loss: tasks that are trained together regularize each other.

    Args:
        gap: How far below, as a fraction of the evaluation loss, counts as overfitting.
    """

    gap: float = 0.2

    def __call__(self, context: DiagnosisContext) -> CauseResult:
        """Train with more sharing."""
        if len(context.plan.grouping.networks) == 1:
            return CauseResult("overfitting", skipped=("all tasks share one network already",))
        is_overfit, evidence = None, ()
        if context.own is not None:
            gap, gap_alone = _gap(context, context.joint), _gap(context, context.alone)
            is_overfit = gap >= self.gap
            evidence = (
                f"Loss on training rows compared with selection rows: {-100 * gap:+.0f} % in the "
                f"plan, {-100 * gap_alone:+.0f} % in separate networks; {-100 * self.gap:+.0f} % "
                "or less counts as overfitting.",
            )
        change = context.intervention(
            "one network for all tasks",
            "share more: train all tasks in one network",
            context.losses(replace(Plan.all_in_one(context.names), width=context.plan.width)),
            decides=is_overfit is not False,
        )
        return CauseResult("overfitting", evidence, (change,))


def _gap(context: DiagnosisContext, losses: PlanLosses) -> float:
    """How far training losses are below evaluation losses, as a fraction of the latter's size."""
    training, evaluation = (part.nanmean(dim=0) for part in (losses.training, losses.evaluation))
    gaps = (evaluation - training) / evaluation.abs()
    return float(gaps[context.concerned].nanmean())
