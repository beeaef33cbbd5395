"""Words: names in a row and amounts of things, as a sentence has them."""

import math
from collections.abc import Iterable, Sequence

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def listed(names: Sequence[str]) -> str:
    """Names with commas, and an "and" before the last."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


def shorten(names: Iterable[object], most: int = 12) -> str:
    """The first names with commas, and how many more there are."""
    texts = [*map(str, names)]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def count(amount: int, noun: str) -> str:
    """An amount with its noun."""
    return f"{amount:,} {noun}{'' if amount == 1 else 's'}"


def in_percent(share: float, digits: int = 0) -> str:
    """A share as a percentage: "50 %"."""
    return f"{100 * share:.{digits}f} %"


def gain_in_percent(gain: float, low: float = math.nan, high: float = math.nan) -> str:
    """A relative gain with its sign, and its interval if it has one: "+4.1 % (+2.0 to +6.2)"."""
    interval = f" ({100 * low:+.1f} to {100 * high:+.1f})" if math.isfinite(low + high) else ""
    return f"{100 * gain:+.1f} %{interval}"


def duration(seconds: float) -> str:
    """A time in its largest unit: "12 s", "1.5 h"."""
    for size, name in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"


def clock(seconds: float) -> str:
    """A time in minutes and seconds: "1:35"."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
