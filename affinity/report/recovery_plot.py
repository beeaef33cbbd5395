"""What interventions recovered of the harm: a dot and its interval for each."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from affinity.audit import Diagnosis

from .gain_plot import VERDICT_COLOURS, draw_gain_axes, draw_interval
from .labels import short_labels
from .palette import HARMS, HELPS, NEUTRAL, RULE
from .picture import AxesPicture

LONGEST = 44


@dataclass(frozen=True, eq=False)
class RecoveryPlot(AxesPicture):
    """The share of the separate networks' test loss that each intervention recovered.

    The dashed line is the harm: an intervention that reaches it removed all of it. Hollow dots are
    undecided.
    """

    diagnosis: Diagnosis

    def frame(self) -> pd.DataFrame:
        """One row per intervention: cause, change, verdict, test_recovered, its interval, cost."""
        return self._table

    @cached_property
    def _table(self) -> pd.DataFrame:
        return self.diagnosis.frame()

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 8.6, 1.0 + 0.3 * len(self._table)

    def _draw(self, axes: Axes) -> None:
        table = self._table
        shows_harm = self.diagnosis.shows_harm
        harm = float(np.nanmean(self.diagnosis.harm("test"))) if shows_harm else 0.0
        ends = np.array([0.0, harm, *table["test_recovered"]])
        ends = ends[np.isfinite(ends)]
        margin = 0.15 * max(float(np.ptp(ends)), 0.02)
        low, high = float(ends.min()) - margin, float(ends.max()) + margin
        if shows_harm:
            axes.axvline(harm, color=HARMS, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        columns = table[["verdict", "test_recovered", "test_low", "test_high"]]
        for y, (verdict, mean, start, end) in enumerate(columns.itertuples(index=False, name=None)):
            colour = VERDICT_COLOURS[verdict]
            draw_interval(axes, y, max(start, low), min(end, high), colour)
            axes.plot(mean, y, "o", color=colour, mfc="white" if verdict == "undecided" else colour)
        causes = table["cause"].tolist()
        is_first = [row == 0 or causes[row] != causes[row - 1] for row in range(len(causes))]
        for y in np.flatnonzero(is_first)[1:]:
            axes.axhline(y - 0.5, color=RULE, linewidth=1.4)
        labels = [
            f"{cause}:  {name}" if first else name
            for cause, name, first in zip(
                causes, short_labels(table["change"].tolist(), LONGEST), is_first, strict=True
            )
        ]
        draw_gain_axes(axes, labels, low, high)
        axes.set_xlabel("share of the separate networks' test loss recovered")
        axes.legend(
            handles=[
                Line2D([], [], color=HELPS, marker="o", label="recovers"),
                Line2D([], [], color=NEUTRAL, marker="o", label="no effect"),
                Line2D([], [], color=NEUTRAL, marker="o", mfc="white", label="undecided"),
                Line2D([], [], color=HARMS, marker="o", label="makes it worse"),
                Line2D([], [], color=HARMS, linestyle="--", label="all of the harm"),
            ][: 5 if shows_harm else 4],
            loc="lower right",
            bbox_to_anchor=(1, 1.0),
            ncols=5,
            borderaxespad=0.2,
            columnspacing=1.2,
            handletextpad=0.5,
        )
