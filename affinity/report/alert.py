"""An alert: one reason to be careful with a result."""

from dataclasses import dataclass

from affinity.problems.note import Severity

SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")


@dataclass(frozen=True)
class Alert:
    """One reason to be careful with a result, and what to do about it.

    Args:
        code: A stable name for the cause; the wording may change.
        severity: How much it matters.
        title: The problem in a few words.
        text: What it means, and what to do.
    """

    code: str
    severity: Severity
    title: str
    text: str


def quote_names(names: list[str], most: int = 6) -> str:
    """Names in quotes, and how many more there are.

    Example:
        >>> quote_names(["depth", "edges", "text"], most=2)
        '“depth”, “edges” and 1 more'
    """
    shown = ", ".join(f"“{name}”" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
