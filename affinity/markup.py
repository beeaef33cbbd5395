"""Markup: tables for notebooks, as HTML without scripts; every text is escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape

HELPS, HARMS, NOISE = (31, 99, 176), (184, 81, 13), "rgba(128, 128, 128, .22)"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    colours: Iterable[Sequence[str]] | None = None,
) -> str:
    """An HTML table; the first column names the rows.

    Args:
        header: One text per column.
        rows: One text per column in each row.
        caption: Above the table.
        colours: One CSS background per cell, or an empty string.

    Example:
        >>> "<b>" in table(["task"], [["<b>"]])
        False
    """
    painted = iter(colours) if colours is not None else None
    parts = ["<table>"]
    if caption:
        parts.append(f'<caption style="text-align: left">{escape(caption)}</caption>')
    parts.append("<thead><tr>")
    parts += [f'<th style="text-align: left">{escape(text)}</th>' for text in header]
    parts.append("</tr></thead><tbody>")
    for row in rows:
        paint = next(painted) if painted is not None else [""] * len(row)
        parts.append("<tr>")
        for place, (text, colour) in enumerate(zip(row, paint, strict=True)):
            tag = "th" if place == 0 else "td"
            background = f"; background: {colour}" if colour else ""
            parts.append(
                f'<{tag} style="text-align: left{background}"><bdi>{escape(text)}</bdi></{tag}>'
            )
        parts.append("</tr>")
    parts.append("</tbody></table>")
    return "".join(parts)


def diverging(value: float, limit: float) -> str:
    """A background for a value: blue above 0, orange below, stronger towards the limit.

    Example:
        >>> diverging(0.5, 1.0), diverging(-1.0, 1.0)
        ('rgba(31, 99, 176, 0.35)', 'rgba(184, 81, 13, 0.7)')
    """
    if not (math.isfinite(value) and limit > 0):
        return ""
    red, green, blue = HELPS if value > 0 else HARMS
    return f"rgba({red}, {green}, {blue}, {round(0.7 * min(1.0, abs(value) / limit), 3)})"
