"""Markup: results as tables, as text for `print` and as HTML without scripts for notebooks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

HELPS, HARMS, NOISE = (31, 99, 176), (184, 81, 13), "rgba(128, 128, 128, .22)"


@dataclass(frozen=True)
class ResultTable:
    """A table of texts; the first column names the rows."""

    header: Sequence[str]  # one text per column
    rows: Sequence[Sequence[str]]
    caption: str = ""  # above the table
    # a CSS background per cell, or an empty string; for HTML
    colours: Sequence[Sequence[str]] | None = None

    def __str__(self) -> str:
        """The table as text, in aligned columns."""
        lines = [[" ".join(text.split()) for text in line] for line in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            [
                *([self.caption] if self.caption else []),
                *("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines),
            ]
        )

    def html(self) -> str:
        """The table as HTML; every text is escaped."""
        colours = self.colours or [[""] * len(self.header)] * len(self.rows)
        parts = ["<table>"]
        if self.caption:
            parts.append(f'<caption style="text-align: left">{escape(self.caption)}</caption>')
        parts.append("<thead><tr>")
        parts += [f'<th style="text-align: left">{escape(text)}</th>' for text in self.header]
        parts.append("</tr></thead><tbody>")
        for row, paint in zip(self.rows, colours, strict=True):
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


class ShownAsTable(ABC):
    """A result that `print` and notebooks show as a table."""

    @abstractmethod
    def as_table(self) -> ResultTable:
        """The table."""

    def __str__(self) -> str:
        """For `print`; `repr` has every field."""
        return str(self.as_table())

    def _repr_html_(self) -> str:
        """For notebooks."""
        return self.as_table().html()


def diverging(value: float, limit: float) -> str:
    """A background for a value: blue above 0, orange below, stronger towards the limit."""
    if not (math.isfinite(value) and limit > 0):
        return ""
    red, green, blue = HELPS if value > 0 else HARMS
    return f"rgba({red}, {green}, {blue}, {round(0.7 * min(1.0, abs(value) / limit), 3)})"
