"""Measured gains: a dot and its interval for each task and candidate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from affinity.audit import Audit
from affinity.statistics import Gains, VerdictName
from affinity.tasks.score import MATTERS, GainUnit

from .labels import short_labels
from .numbers import gain_text
from .palette import HARMS, HELPS, INK, NEUTRAL, NOISE, RULE
from .picture import AxesPicture

KEYS_PER_ROW = 3
MARKERS = ("o", "D", "s", "^", "v", "P")
COLOURS = (INK, "#6b7280", "#8a4fa3", "#1b7f79", "#7a6a1f", "#b03a6b")
VERDICT_COLOURS: Mapping[VerdictName, str] = {
    "beneficial": HELPS,
    "harmful": HARMS,
    "neutral": NEUTRAL,
    "undecided": NEUTRAL,
}


@dataclass(frozen=True, eq=False)
class GainPlot(AxesPicture):
    """Gain over a separate network, one row per task, the plan's best task at the top.

    The zero line is the task's separate network; the band around it is the tolerance: gains too
    small to matter. Gains far outside the plan's range are drawn as arrows at the edge.

    Args:
        gains: By candidate, the plan first.
        tolerance: Half of the band's width.
        verdicts: Of the plan, by task; they colour its dots. Undecided dots are hollow.
    """

    gains: Mapping[str, Gains]
    tolerance: float = 0.01
    verdicts: Mapping[str, VerdictName] | None = None

    @classmethod
    def from_audit(cls, audit: Audit) -> "GainPlot":
        """The test gains of all candidates but separate networks, the plan first."""
        names = audit.distinct
        return cls(
            {name: audit.candidates[name].test for name in names if name != "separate"},
            audit.test.tolerance,
            {task: verdict.verdict for task, verdict in audit.verdicts.items()},
        )

    def frame(self) -> pd.DataFrame:
        """One row per candidate and task: gain, low, high."""
        return pd.concat(
            [
                gains.frame()[["task", "gain", "low", "high"]].assign(candidate=name)
                for name, gains in self.gains.items()
            ],
            ignore_index=True,
        )[["candidate", "task", "gain", "low", "high"]]

    @property
    def unit(self) -> GainUnit:
        """The unit of the axis: that of all tasks, or the common scale where they differ."""
        return next(iter(self.gains.values())).overall_unit

    def _drawn(self) -> pd.DataFrame:
        """The table in the unit of the axis."""
        table = self.frame()
        if self.unit == "common":
            scores = next(iter(self.gains.values())).score_of
            scale = table["task"].map({task: score.scale for task, score in scores.items()})
            table[["gain", "low", "high"]] = table[["gain", "low", "high"]].mul(scale, axis=0)
        return table

    @property
    def tasks(self) -> list[str]:
        """The tasks as drawn, from the top."""
        table = self._drawn()
        plan = table[table["candidate"] == next(iter(self.gains))]
        gains = dict(zip(plan["task"], plan["gain"], strict=True))
        return sorted(gains, key=lambda task: -np.nan_to_num(gains[task], nan=-np.inf))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        per_task = 0.36 if len(self.tasks) <= 20 else 0.26 if len(self.tasks) <= 60 else 0.2
        per_task *= max(1.0, len(self.gains) / 3)
        n_key_rows = -(-len(self._legend()) // KEYS_PER_ROW)
        return 8.6, 1.1 + per_task * len(self.tasks) + 0.2 * (n_key_rows - 1)

    def _draw(self, axes: Axes) -> None:
        rows = {task: row for row, task in enumerate(self.tasks)}
        low, high = self._limits()
        axes.axvspan(-self.tolerance, self.tolerance, color=NOISE, linewidth=0, zorder=0)
        reach = min(0.3, 0.08 * len(self.gains))
        offsets = np.linspace(-reach, reach, len(self.gains)) if len(self.gains) > 1 else [0.0]
        table = self._drawn()
        for series, (name, offset) in enumerate(zip(self.gains, offsets, strict=True)):
            colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
            fill = colour if series == 0 else "white"
            for _, task, gain, start, end in table[table["candidate"] == name].itertuples(
                index=False, name=None
            ):
                if series == 0 and self.verdicts is not None:
                    verdict = self.verdicts[task]
                    colour = VERDICT_COLOURS[verdict]
                    fill = "white" if verdict == "undecided" else colour
                y = rows[task] + offset
                if gain < low or gain > high:
                    _draw_arrow(axes, gain, y, low, high, colour, self.unit)
                elif np.isfinite(gain):
                    draw_interval(axes, y, max(start, low), min(end, high), colour)
                    axes.plot(gain, y, marker, color=colour, mfc=fill, ms=6 - series * 0.5)
        handles = self._legend()
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(len(handles), KEYS_PER_ROW),
            borderaxespad=0.2,
            handletextpad=0.5,
        )
        draw_gain_axes(axes, short_labels(self.tasks), low, high, self.unit)
        axes.set_xlabel(f"{self._quantity()} compared with a separate network (right is better)")

    def _quantity(self) -> str:
        if self.unit == "common":
            return f"improvement of the score, {MATTERS} is the difference that matters,"
        scores = next(iter(self.gains.values())).score_of.values()
        if self.unit == "difference":
            return "improvement of the test score"
        is_of_losses = all(score.direction == "minimize" for score in scores)
        return "reduction in test loss" if is_of_losses else "relative improvement of the score"

    def _legend(self) -> list[Line2D]:
        """One key per candidate; for the plan, one per verdict that occurs."""
        keys: list[tuple[str, str, str, str]] = []  # label, marker, line, fill
        for series, name in enumerate(self.gains):
            colour, marker = COLOURS[series % len(COLOURS)], MARKERS[series % len(MARKERS)]
            if series == 0 and self.verdicts is not None:
                for verdict, tone in VERDICT_COLOURS.items():
                    if verdict in self.verdicts.values():
                        fill = "white" if verdict == "undecided" else tone
                        keys.append((f"{name}: {verdict}", marker, tone, fill))
            else:
                keys.append((name, marker, colour, colour if series == 0 else "white"))
        return [
            Line2D([], [], color=line, marker=marker, mfc=fill, ms=6, linewidth=1.6, label=label)
            for label, marker, line, fill in keys
        ]

    def _limits(self) -> tuple[float, float]:
        """Wide enough for the plan's intervals, and for gains that are not far outside them."""
        table = self._drawn()
        plan = table[table["candidate"] == next(iter(self.gains))]
        reach = np.nanmax(
            np.abs(np.append(plan[["gain", "low", "high"]].to_numpy(), self.tolerance))
        )
        ends = table[["gain", "low", "high"]].to_numpy().ravel()
        near = np.append(ends[np.isfinite(ends) & (np.abs(ends) <= 3 * reach)], 0.0)
        low, high = min(near.min(), -self.tolerance), max(near.max(), self.tolerance)
        margin = 0.06 * (high - low)
        return float(low - margin), float(high + margin)


def draw_gain_axes(
    axes: Axes,
    labels: list[str],
    low: float,
    high: float,
    unit: GainUnit = "relative",
    most_ticks: int = 7,
) -> None:
    """One labelled row per label, a zero line, and gains in their unit from `low` to `high`."""
    axes.axvline(0, color=INK, linewidth=1, zorder=1)
    axes.hlines(range(len(labels)), low, high, color=RULE, linewidth=0.6, zorder=0)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(most_ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(partial(_format_gain, unit)))
    axes.spines["left"].set_visible(False)


def draw_interval(axes: Axes, y: float, low: float, high: float, colour: str) -> None:
    """A horizontal bar; nothing where an end is unknown."""
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)


def _draw_arrow(
    axes: Axes, gain: float, y: float, low: float, high: float, colour: str, unit: GainUnit
) -> None:
    is_left = gain < low
    edge, direction = (low, 1) if is_left else (high, -1)
    step = 0.012 * (high - low) * direction
    axes.plot(edge + step, y, "<" if is_left else ">", color=colour, ms=5.5, zorder=3)
    axes.text(
        edge + 2.2 * step,
        y,
        gain_text(gain, unit),
        ha="left" if is_left else "right",
        va="center",
        fontsize=8,
        color=colour,
    )


def _format_gain(unit: GainUnit, gain: float, position: int | None = None) -> str:  # noqa: ARG001
    return gain_text(gain, unit)
