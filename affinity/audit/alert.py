"""An alert: one reason to be careful with a result."""

from collections.abc import Iterable
from dataclasses import dataclass

from affinity.reading import Severity
from affinity.tasks.score import GainUnit
from affinity.words import shorten

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


def quote_names(names: Iterable[str]) -> str:
    """Names in quotes, and how many more there are."""
    return shorten((f"“{name}”" for name in names), 6)


def format_gain(
    gain: float, low: float | None = None, high: float | None = None, unit: GainUnit = "relative"
) -> str:
    """A gain, and its interval if it is known, in percent if it is relative."""

    def one(value: float) -> str:
        return f"{100 * value:+.1f} %" if unit == "relative" else f"{value:+.3g}"

    if low is None or high is None or low != low or high != high:
        return one(gain)
    return f"{one(gain)} ({one(low).removesuffix(' %')} to {one(high).removesuffix(' %')})"
