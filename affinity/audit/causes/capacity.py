"""Capacity: the shared trunk is too small for all tasks, and a wider one would remove the harm."""

from dataclasses import dataclass

from .context import DiagnosisContext
from .intervention import CauseResult


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
        if not context.offers("width"):
            reason = (
                "the trainer cannot change the width: pass width= and parts= to Problem, or give "
                "the function or the command a setting 'width'"
            )
            return CauseResult("capacity", skipped=(reason,))
        usual = None if context.own is None else context.plan.width or context.own.problem.width
        harms = [f"{context.format_harm(context.joint)} at width {_width(usual, 1)}"]
        changes, evidence = [], []
        wider = context.with_each("width", [float(factor) for factor in self.factors])
        for factor, (joint, alone) in zip(self.factors, wider, strict=True):
            harms.append(f"{context.format_harm(joint, alone)} at {_width(usual, factor)}")
            advice = f"give the trunk {factor} times the width"
            changes.append(
                context.intervention(
                    f"{factor} times the width",
                    advice if usual is None else f"{advice} ({factor * usual})",
                    joint,
                    alone,
                )
            )
            size = context.times_parameters(joint, context.alone)
            evidence.append(
                f"At {factor} times the width the loss of separate networks changes by "
                f"{context.format_harm(alone)}; that of the shared network differs by "
                f"{context.format_harm(joint)} from separate networks of the usual width"
                + (f", with {size:.2f} times their parameters." if size is not None else ".")
            )
        others = "separate networks whose width is changed by the same factor"
        first = f"Harm by sharing, compared with {others}: {', '.join(harms)}."
        return CauseResult("capacity", (first, *evidence), tuple(changes))


def _width(usual: int | None, factor: int) -> str:
    """A width as a number, or as a multiple of a width that is not known."""
    return f"{factor} times" if usual is None else str(factor * usual)
