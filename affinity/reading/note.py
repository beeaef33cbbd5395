"""A note on the data: what a reader of the results must know about the table."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["serious", "warning", "note"]
"""How much it matters, most first. Serious: scores or verdicts are probably wrong."""


@dataclass(frozen=True)
class DataNote:
    """One remark on the data.

    Args:
        code: A stable name for the cause; the wording may change.
        message: What was found, what it means, and what to do.
        severity: How much it matters.
        column: The column that it concerns, if it concerns a single one.
        task: The task that it concerns, if it concerns a single one.
        value: The figure that led to it, such as a correlation or a number of rows.

    Example:
        >>> str(DataNote("left-out", "Column 'x' was left out: constant.", column="x"))
        "Column 'x' was left out: constant."
    """

    code: str
    message: str
    severity: Severity = "note"
    column: str | None = None
    task: str | None = None
    value: float | None = None

    def __str__(self) -> str:
        return self.message
