"""An alert: one thing that should make a reader doubt the answer."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["serious", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")


@dataclass(frozen=True)
class Alert:
    """One doubt: how serious, what it is, and what to do about it."""

    severity: Severity
    title: str
    text: str


def named(tasks: list[str], most: int = 6) -> str:
    """Names of tasks in quotes, the first few of them."""
    shown = ", ".join(f"“{task}”" for task in tasks[:most])
    return shown if len(tasks) <= most else f"{shown} and {len(tasks) - most} more"
