"""Capacity: the shared trunk is too small for all tasks, and a wider one would remove the harm."""

from dataclasses import dataclass

from .cause_result import CauseResult
from .context import DiagnosisContext


@dataclass(frozen=True)
class Capacity:
    """Widen all trunks, including those of separate networks, and measure the harm again.

    If wider trunks help separate networks equally, every network is too small and sharing is not
    the cause: none of the harm is recovered.

    Args:
        factors: Multiples of the width.
    """

    factors: tuple[int, ...] = (2, 4)

    def __call__(self, context: DiagnosisContext) -> CauseResult:
        """Train at each width."""
        if not context.shares:
            return CauseResult("capacity", skipped=("no two tasks share a network",))
        width = context.problem.width
        if width is None or context.problem.parts is None:
            reason = (
                "the problem does not define how to make its trunk wider: pass width= and parts= "
                "to Problem"
            )
            return CauseResult("capacity", skipped=(reason,))
        harms = [f"{context.format_harm(context.joint)} at width {width}"]
        changes, evidence = [], []
        for factor in self.factors:
            wider = context.problem.of_width(factor * width)
            joint = context.losses(context.plan, wider)
            alone = context.losses(context.separate, wider)
            harms.append(f"{context.format_harm(joint, alone)} at {factor * width}")
            changes.append(
                context.intervention(
                    f"{factor} times the width",
                    f"give the trunk {factor} times the width ({factor * width})",
                    joint,
                    alone,
                )
            )
            evidence.append(
                f"At {factor} times the width the loss of separate networks changes by "
                f"{context.format_harm(alone)}; that of the shared network differs by "
                f"{context.format_harm(joint)} from separate networks of the usual width, with "
                f"{joint.parameters / context.alone.parameters:.2f} times their parameters."
            )
        first = f"Harm by sharing in trunks of equal width: {', '.join(harms)}."
        return CauseResult("capacity", (first, *evidence), tuple(changes))
