"""Adaptation curves: scores of few-shot methods on new tasks by number of gradient steps."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from affinity.errors import check_choice
from affinity.fewshot import FewShotSummary
from affinity.words import count

from .palette import GROUPS, INK, RULE
from .picture import AxesPicture

MARKS = ("o", "s", "D", "^", "v", "P", "X", "h", "*")  # one more than colours


@dataclass(frozen=True, eq=False)
class AdaptationCurves(AxesPicture):
    """One line per method over the gradient steps on the support rows, with 95 % intervals.

    Args:
        table: Columns method, steps, score, low and high; others are ignored.
    """

    table: pd.DataFrame
    score: str
    title: str = ""

    @classmethod
    def from_summary(cls, summary: FewShotSummary, shots: int) -> "AdaptationCurves":
        """The curves at one number of shots.

        Raises:
            InputError: If there are no results for this number of shots.
        """
        check_choice("shots", shots, summary.advised, "unknown-shots")
        table = pd.DataFrame([row for row in summary.rows if row.shots == shots])
        return cls(table, summary.score, count(shots, "shot"))

    def frame(self) -> pd.DataFrame:
        """One row per method and number of steps: method, steps, score, low, high."""
        return self.table[["method", "steps", "score", "low", "high"]].reset_index(drop=True)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 4.2, 3.4 + 0.2 * self.table["method"].nunique()

    def _draw(self, axes: Axes) -> None:
        for number, (method, curve) in enumerate(self.frame().groupby("method", sort=False)):
            colour = GROUPS[number % len(GROUPS)]
            axes.fill_between(
                curve["steps"], curve["low"], curve["high"], color=colour, alpha=0.15, linewidth=0
            )
            axes.plot(
                curve["steps"],
                curve["score"],
                marker=MARKS[number % len(MARKS)],
                markersize=4.5,
                linewidth=1.5,
                color=colour,
                label=str(method),
            )
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("gradient steps on the support rows")
        axes.set_ylabel(f"{self.score} on the query rows")
        axes.set_title(self.title, loc="left", fontsize=10, color=INK)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16))  # below: a phone is narrow
