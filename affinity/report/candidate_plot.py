"""The groupings of a study: expected gain, interval, and probability of being best."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from affinity.study import StudySummary
from affinity.words import in_percent

from .gain_plot import draw_gain_axes, draw_interval
from .labels import short_labels
from .palette import HELPS, SOFT
from .picture import AxesPicture


@dataclass(frozen=True, eq=False)
class CandidatePlot(AxesPicture):
    """Expected mean gain over separate networks, one row per grouping, the plan at the top.

    The number at the right is the probability that no other grouping is better by more than the
    tolerance.

    Args:
        summary: Of a study with measured gains.
    """

    summary: StudySummary

    def frame(self) -> pd.DataFrame:
        """One row per grouping: candidate, gain, low, high, probability."""
        return pd.DataFrame(
            [
                {
                    "candidate": ", ".join(candidate.names),
                    "gain": candidate.gain,
                    "low": candidate.low,
                    "high": candidate.high,
                    "probability": candidate.probability,
                }
                for candidate in self.summary.candidates
            ]
        ).astype({"gain": float, "low": float, "high": float, "probability": float})

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 6.4, 0.9 + 0.42 * len(self.summary.candidates)

    def _draw(self, axes: Axes) -> None:
        table = self.frame()
        ends = np.append(table[["gain", "low", "high"]].to_numpy(), 0.0)
        low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
        margin = 0.06 * (high - low) or 0.01
        labels, unit = short_labels(list(table["candidate"])), self.summary.unit
        draw_gain_axes(axes, labels, low - margin, high + margin, unit, most_ticks=5)
        for row, candidate in table.iterrows():
            assert isinstance(row, int)
            colour = HELPS if row == 0 else SOFT
            draw_interval(axes, row, candidate["low"], candidate["high"], colour)
            fill = colour if row == 0 else "white"
            axes.plot(candidate["gain"], row, "o", color=colour, mfc=fill, ms=6)
            axes.text(
                1.02,
                row,
                in_percent(candidate["probability"]),
                transform=axes.get_yaxis_transform(),
                va="center",
            )
        axes.text(1.02, -0.75, "may be best", transform=axes.get_yaxis_transform(), color=SOFT)
        axes.set_xlabel("expected mean gain over separate networks (right is better)")
