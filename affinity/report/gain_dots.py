"""Measured gains: a dot and its interval for each task and arrangement."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from affinity.audit import Audit
from affinity.statistics import Gains, VerdictName

from .labels import short_labels
from .numbers import percent
from .one_axes import OneAxes
from .palette import HARMS, HELPS, INK, NOISE, RULE

KEYS_A_ROW = 4
MARKS = ("o", "D", "s", "^", "v", "P")
COLOURS = (INK, "#6b7280", "#8a4fa3", "#1b7f79", "#7a6a1f", "#b03a6b")
TONES = {"beneficial": HELPS, "harmful": HARMS, "neutral": "#6b7280", "undecided": "#6b7280"}


@dataclass(frozen=True, eq=False)
class GainDots(OneAxes):
    """Relative gain over a separate network, a row a task, best under the plan at the top.

    The zero line is the task's separate network; the band about it is the tolerance within which
    gains are of no interest. Gains far outside the plan's range are drawn as arrows at the edge.

    Args:
        gains: By arrangement, the plan first.
        tolerance: Half of the band's width.
        verdicts: On the plan, a task; they colour its dots, and leave undecided ones hollow.
    """

    gains: Mapping[str, Gains]
    tolerance: float = 0.01
    verdicts: Mapping[str, VerdictName] | None = None

    @classmethod
    def of(cls, audit: Audit) -> "GainDots":
        """The test gains of everything but separate networks, the plan first."""
        names = dict.fromkeys(("plan", *audit.candidates))
        return cls(
            {name: audit.candidates[name].test for name in names if name != "separate"},
            audit.test.tolerance,
            {task: verdict.verdict for task, verdict in audit.verdicts.items()},
        )

    def frame(self) -> pd.DataFrame:
        """One row an arrangement and task: gain, low, high."""
        return pd.concat(
            [
                gains.frame()[["task", "gain", "low", "high"]].assign(arrangement=name)
                for name, gains in self.gains.items()
            ],
            ignore_index=True,
        )[["arrangement", "task", "gain", "low", "high"]]

    @property
    def tasks(self) -> list[str]:
        """The tasks as drawn, from the top."""
        first = next(iter(self.gains.values())).relative()
        return sorted(first, key=lambda task: -np.nan_to_num(first[task], nan=-np.inf))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        per_task = 0.36 if len(self.tasks) <= 20 else 0.26 if len(self.tasks) <= 60 else 0.2
        per_task *= max(1.0, len(self.gains) / 3)
        return 8.6, 1.1 + per_task * len(self.tasks) + 0.2 * (-(-self._n_keys // KEYS_A_ROW) - 1)

    @property
    def _n_keys(self) -> int:
        """Entries of the legend."""
        return len(self.gains) - 1 + len(set((self.verdicts or {"": ""}).values()))

    def _draw(self, axes: Axes) -> None:
        place = {task: at for at, task in enumerate(self.tasks)}
        low, high = self._limits()
        axes.axvspan(-self.tolerance, self.tolerance, color=NOISE, linewidth=0, zorder=0)
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
        axes.hlines(range(len(place)), low, high, color=RULE, linewidth=0.6, zorder=0)
        reach = min(0.3, 0.08 * len(self.gains))
        spread = np.linspace(-reach, reach, len(self.gains)) if len(self.gains) > 1 else [0.0]
        handles: list[Line2D] = []
        for series, (name, offset) in enumerate(zip(self.gains, spread, strict=True)):
            colour, mark = COLOURS[series % len(COLOURS)], MARKS[series % len(MARKS)]
            fill = colour if series == 0 else "white"
            rows = self.frame().query("arrangement == @name")
            for task, gain, start, end in rows[["task", "gain", "low", "high"]].itertuples(
                index=False, name=None
            ):
                y = place[task] + offset
                if not np.isfinite(gain):
                    continue
                if series == 0 and self.verdicts is not None:
                    verdict = self.verdicts[task]
                    colour = TONES[verdict]
                    fill = "white" if verdict == "undecided" else colour
                if gain < low or gain > high:
                    _arrow(axes, gain, y, low, high, colour)
                    continue
                if np.isfinite(start):
                    axes.plot(
                        [max(start, low), min(end, high)],
                        [y, y],
                        color=colour,
                        linewidth=1.6,
                        solid_capstyle="butt",
                        zorder=2,
                    )
                axes.plot(gain, y, mark, color=colour, mfc=fill, ms=6 - series * 0.5, zorder=3)
            handles += self._key(name, mark, COLOURS[series % len(COLOURS)], series == 0)
        axes.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=min(len(handles), KEYS_A_ROW),
            borderaxespad=0.2,
            handletextpad=0.5,
        )
        axes.set_yticks(range(len(place)), short_labels(self.tasks))
        axes.set_ylim(len(place) - 0.4, -0.6)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(_as_percent))
        axes.set_xlabel("less test loss than a separate network (right is better)")
        axes.spines["left"].set_visible(False)

    def _key(self, name: str, mark: str, colour: str, is_first: bool) -> list[Line2D]:
        if not is_first or self.verdicts is None:
            fill = colour if is_first else "white"
            said = {name: (colour, fill)}
        else:
            present = [verdict for verdict in TONES if verdict in self.verdicts.values()]
            said = {
                f"{name}: {verdict}": (
                    TONES[verdict],
                    "white" if verdict == "undecided" else TONES[verdict],
                )
                for verdict in present
            }
        return [
            Line2D([], [], color=line, marker=mark, mfc=fill, ms=6, linewidth=1.6, label=label)
            for label, (line, fill) in said.items()
        ]

    def _limits(self) -> tuple[float, float]:
        """Wide enough for the plan's intervals, and for what is not far outside of them."""
        table = self.frame()
        plan = table[table["arrangement"] == next(iter(self.gains))]
        reach = np.nanmax(
            np.abs(np.append(plan[["gain", "low", "high"]].to_numpy(), self.tolerance))
        )
        ends = table[["gain", "low", "high"]].to_numpy().ravel()
        near = ends[np.isfinite(ends) & (np.abs(ends) <= 3 * reach)]
        low, high = min(near.min(), -self.tolerance), max(near.max(), self.tolerance)
        margin = 0.06 * (high - low)
        return float(low - margin), float(high + margin)


def _as_percent(share: float, position: int | None = None) -> str:  # noqa: ARG001
    return percent(share)


def _arrow(axes: Axes, gain: float, y: float, low: float, high: float, colour: str) -> None:
    is_left = gain < low
    edge, inwards = (low, 1) if is_left else (high, -1)
    step = 0.012 * (high - low) * inwards
    axes.plot(edge + step, y, "<" if is_left else ">", color=colour, ms=5.5, zorder=3)
    axes.text(
        edge + 2.2 * step,
        y,
        percent(gain),
        ha="left" if is_left else "right",
        va="center",
        fontsize=8,
        color=colour,
    )
