"""Numbers as the page and its pictures write them."""

import math

from affinity.tasks.score import GainUnit

MINUS = "\N{MINUS SIGN}"
NARROW = "\N{NARROW NO-BREAK SPACE}"
TIMES = "\N{MULTIPLICATION SIGN}"
UNKNOWN = "\N{EN DASH}"


def percent(share: float | None, signed: bool = True) -> str:
    """A share as a percentage, such as "+4.1 %": one decimal below 10 %, none above 100 %."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    hundredths = 100 * share
    text = f"{abs(hundredths):.{0 if abs(hundredths) >= 99.5 else 1}f}"
    is_zero = not text.strip("0.")
    sign = "" if is_zero else MINUS if hundredths < 0 else "+" if signed else ""
    return f"{sign}{text}{NARROW}%"


def gain_text(gain: float | None, unit: GainUnit = "relative", signed: bool = True) -> str:
    """A gain in its unit: a percentage if it is relative, otherwise a plain number."""
    return percent(gain, signed) if unit == "relative" else number(gain, signed)


def gain_range(low: float | None, high: float | None, unit: GainUnit = "relative") -> str:
    """An interval of gains, "−1.0 % to +2.0 %"; empty if an end is unknown."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{gain_text(low, unit)} to {gain_text(high, unit)}"


def number(value: float | None, signed: bool = False, digits: int = 3) -> str:
    """A number with three significant digits, a typographic minus and commas: "−1,230,000"."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size < 15:
        rounded = round(abs(value), digits - 1 - size)
        text = f"{rounded:,.{max(0, digits - 1 - size)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{abs(value):.{digits - 1}e}"
    return (MINUS if value < 0 else "+" if signed else "") + text


def fixed(value: float | None, decimals: int = 3, signed: bool = False) -> str:
    """A number with a fixed number of decimals, for columns of a table."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{abs(value):,.{decimals}f}"
    is_zero = not text.strip("0.")
    return ("" if is_zero else MINUS if value < 0 else "+" if signed else "") + text


def tone(low: float | None, high: float | None) -> str:
    """The CSS class of a number: "helps" or "harms" if its interval excludes 0, otherwise none."""
    if low is not None and math.isfinite(low) and low > 0:
        return "helps"
    return "harms" if high is not None and math.isfinite(high) and high < 0 else ""
