"""A cause's result: the measurements of one possible cause of harm."""

from dataclasses import dataclass

from .intervention import Intervention


@dataclass(frozen=True, eq=False)
class CauseResult:
    """The evidence for and against one cause of harm.

    Args:
        cause: A name in `CAUSES`.
        skipped: What could not be measured, and why.
    """

    cause: str
    evidence: tuple[str, ...] = ()
    changes: tuple[Intervention, ...] = ()
    skipped: tuple[str, ...] = ()
