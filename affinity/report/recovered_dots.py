"""What changes recovered of the harm: a dot and its interval for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .labels import short_labels
from .numbers import percent
from .one_axes import OneAxes
from .palette import HARMS, HELPS, INK, NEUTRAL, RULE

TONES = {"recovers": HELPS, "harm is left": HELPS, "makes it worse": HARMS}
LONGEST = 44


@dataclass(frozen=True, eq=False)
class RecoveredDots(OneAxes):
    """The share of the separate networks' loss that each change recovered, on test rows.

    The dashed line is the harm: what reaches it has removed it all. A hollow dot was not decided.

    Args:
        diagnosis: As `diagnosis_facts` gives it.
    """

    diagnosis: Mapping[str, Any]

    def frame(self) -> pd.DataFrame:
        """One row a change: cause, name, verdict, recovered, low, high, cost."""
        return pd.DataFrame(
            [
                {
                    "cause": finding["cause"],
                    "change": change["name"],
                    "verdict": change["verdict"],
                    "recovered": _number(change["recovered"]["test"]["mean"]),
                    "low": _number(change["recovered"]["test"]["low"]),
                    "high": _number(change["recovered"]["test"]["high"]),
                    "cost": change["cost"],
                }
                for finding in self.diagnosis["causes"]
                for change in finding["changes"]
            ]
        )

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 8.6, 1.0 + 0.3 * len(self.frame())

    def _draw(self, axes: Axes) -> None:
        table = self.frame()
        harm = _number(self.diagnosis["harm"]["test"]["mean"])
        low, high = self._limits(table, harm)
        axes.axvline(0, color=INK, linewidth=1, zorder=1)
        axes.hlines(range(len(table)), low, high, color=RULE, linewidth=0.6, zorder=0)
        if self._shows_harm:
            axes.axvline(harm, color=HARMS, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        columns = table[["verdict", "recovered", "low", "high"]]
        for y, (verdict, mean, start, end) in enumerate(columns.itertuples(index=False, name=None)):
            colour = TONES.get(verdict, NEUTRAL)
            if not np.isfinite(mean):
                continue
            if np.isfinite(start):
                ends = [max(start, low), min(end, high)]
                axes.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
            fill = "white" if verdict == "undecided" else colour
            axes.plot(mean, y, "o", color=colour, mfc=fill, ms=6)
        causes = table["cause"].tolist()
        names = short_labels(table["change"].tolist(), LONGEST)
        firsts = [at == 0 or causes[at] != causes[at - 1] for at in range(len(causes))]
        for y in np.flatnonzero(firsts)[1:]:
            axes.axhline(y - 0.5, color=RULE, linewidth=1.4)
        labels = [
            f"{cause}:  {name}" if is_first else name
            for cause, name, is_first in zip(causes, names, firsts, strict=True)
        ]
        axes.set_yticks(range(len(table)), labels)
        axes.set_ylim(len(table) - 0.4, -0.6)
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(_as_percent))
        axes.set_xlabel("share of the separate networks' test loss recovered")
        axes.spines["left"].set_visible(False)
        axes.legend(
            handles=[
                Line2D([], [], color=HELPS, marker="o", label="recovers"),
                Line2D([], [], color=NEUTRAL, marker="o", label="no difference"),
                Line2D([], [], color=NEUTRAL, marker="o", mfc="white", label="undecided"),
                Line2D([], [], color=HARMS, marker="o", label="makes it worse"),
                Line2D([], [], color=HARMS, linestyle="--", label="the whole harm"),
            ][: 5 if self._shows_harm else 4],
            loc="lower right",
            bbox_to_anchor=(1, 1.0),
            ncols=5,
            borderaxespad=0.2,
            columnspacing=1.2,
            handletextpad=0.5,
        )

    @property
    def _shows_harm(self) -> bool:
        return bool(self.diagnosis["harmed"]) or self.diagnosis["together"]

    def _limits(self, table: pd.DataFrame, harm: float) -> tuple[float, float]:
        """Wide enough for every dot and for the harm; long intervals are cut."""
        ends = [0.0, harm if self._shows_harm else 0.0, *table["recovered"]]
        known = np.array([end for end in ends if np.isfinite(end)])
        reach = max(float(np.ptp(known)), 0.02)
        return float(known.min() - 0.15 * reach), float(known.max() + 0.15 * reach)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _as_percent(share: float, position: int | None = None) -> str:  # noqa: ARG001
    return percent(share)
