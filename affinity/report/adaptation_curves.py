"""Adaptation: how methods' scores on new tasks change with every gradient step."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from affinity.errors import InputError
from affinity.fewshot import FewShotResult

from .palette import GROUPS, INK, RULE
from .picture import AxesPicture

MARKS = ("o", "s", "D", "^", "v", "P", "X", "h")


@dataclass(frozen=True, eq=False)
class AdaptationCurves(AxesPicture):
    """A line a method over the gradient steps on the support rows, with 95 % intervals.

    Args:
        table: As of `FewShotResult.frame`: method, steps, score, low, high.
        score: What is scored.
        title: Over the picture.
    """

    table: pd.DataFrame
    score: str
    title: str = ""

    @classmethod
    def of(cls, result: FewShotResult, shots: int) -> "AdaptationCurves":
        """The curves at one number of shots.

        Raises:
            InputError: If the result has no such number of shots.
        """
        if shots not in result.scores:
            raise InputError(f"Expected shots among {list(result.scores)}, but got {shots}.")
        table = result.frame()
        title = f"{result.name}, {shots} shot{'' if shots == 1 else 's'}"
        return cls(table[table["shots"] == shots], result.score, title)

    def frame(self) -> pd.DataFrame:
        """One row a method and number of steps: method, steps, score, low, high."""
        return self.table[["method", "steps", "score", "low", "high"]].reset_index(drop=True)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 4.2, 3.4 + 0.2 * self.table["method"].nunique()

    def _draw(self, axes: Axes) -> None:
        for at, (method, own) in enumerate(self.frame().groupby("method", sort=False)):
            colour = GROUPS[at % len(GROUPS)]
            axes.fill_between(
                own["steps"], own["low"], own["high"], color=colour, alpha=0.15, linewidth=0
            )
            axes.plot(
                own["steps"],
                own["score"],
                marker=MARKS[at % len(MARKS)],
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
