"""Capacity: the shared trunk has no room for all tasks; widening it would end the harm."""

from dataclasses import dataclass

from .cause_result import CauseResult
from .context import DiagnosisContext


@dataclass(frozen=True)
class Capacity:
    """Widens the trunk, that of separate networks too, and sees whether the harm goes.

    Where wider trunks help separate networks as much, every network is too small and sharing is
    not to blame: nothing of the harm is recovered then.

    Args:
        factors: Multiples of the width.
    """

    factors: tuple[int, ...] = (2, 4)

    def __call__(self, case: DiagnosisContext) -> CauseResult:
        """Train at each width."""
        if not case.shares:
            return CauseResult("capacity", skipped=("no two tasks share a network",))
        width = case.problem.width
        if width is None or case.problem.parts is None:
            return CauseResult(
                "capacity",
                skipped=(
                    "the problem does not say how its trunk is made wider: give Problem its width= "
                    "and parts=",
                ),
            )
        harms = [f"{case.said(case.joint)} at width {width}"]
        changes, evidence = [], []
        for factor in self.factors:
            wider = case.problem.of_width(factor * width)
            joint = case.losses(case.plan, wider)
            alone = case.losses(case.separate, wider)
            harms.append(f"{case.said(joint, alone)} at {factor * width}")
            changes.append(
                case.change(
                    f"{factor} times the width",
                    f"give the trunk {factor} times the width ({factor * width})",
                    joint,
                    alone,
                )
            )
            evidence.append(
                f"At {factor} times the width separate networks' own loss changes by "
                f"{case.said(alone)}; the shared one of that width is at {case.said(joint)} of "
                f"today's separate ones, with {joint.parameters / case.alone.parameters:.2f} times "
                "their parameters."
            )
        first = f"Harm by sharing in trunks of equal width: {', '.join(harms)}."
        return CauseResult("capacity", (first, *evidence), tuple(changes))
