"""A cause's result: what was measured of one possible cause of harm."""

from dataclasses import dataclass

from .intervention import Intervention


@dataclass(frozen=True, eq=False)
class CauseResult:
    """The evidence for and against one cause of harm.

    Args:
        cause: A name in `CAUSES`.
        evidence: What was seen, in sentences with numbers.
        changes: What was changed, and what that recovered.
        skipped: What could not be measured, and why.
    """

    cause: str
    evidence: tuple[str, ...] = ()
    changes: tuple[Intervention, ...] = ()
    skipped: tuple[str, ...] = ()
