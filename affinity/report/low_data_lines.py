"""Low-data curves: the gain of each source by the number of the target's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from affinity.transfer import CurvePoint

from .palette import INK, NEUTRAL, group_colour
from .picture import AxesPicture


@dataclass(frozen=True, eq=False)
class LowDataLines(AxesPicture):
    """Gain over training from scratch by the number of rows of one target, with intervals.

    Dots are filled if the verdict is decided. The control, pretraining on own inputs, is dashed.

    Args:
        points: Points of the low-data curves of one target.
    """

    points: Sequence[CurvePoint]

    def frame(self) -> pd.DataFrame:
        """One row per source and size."""
        return pd.DataFrame(self.points)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 6.4, 3.6

    def _draw(self, axes: Axes) -> None:
        table = self.frame()
        axes.axhline(0, color=INK, linewidth=1)
        ends = [0.0]
        for number, (source, curve) in enumerate(table.groupby("source", sort=False)):
            colour = group_colour(number)
            rows, gain = curve["rows"].to_numpy(float), curve["gain"].to_numpy(float)
            axes.plot(rows, gain, color=colour, label=str(source), linewidth=1.6)
            axes.fill_between(
                rows,
                curve["low"].to_numpy(float),
                curve["high"].to_numpy(float),
                color=colour,
                alpha=0.13,
                linewidth=0,
            )
            for x, y, verdict in zip(rows, gain, curve["verdict"], strict=True):
                fill = "white" if verdict == "undecided" else colour
                axes.plot(x, y, "o", color=colour, mfc=fill, ms=5)
            ends += gain.tolist()
        control = table.drop_duplicates("rows")
        known = control["own_inputs"].notna().to_numpy()
        if known.any():
            axes.plot(
                control["rows"].to_numpy(float)[known],
                control["own_inputs"].to_numpy(float)[known],
                color=NEUTRAL,
                linestyle="--",
                label="own inputs",
            )
            ends += control["own_inputs"][known].tolist()
        axes.set_xscale("log")
        sizes = sorted(set(table["rows"]))
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(_as_percent))
        reach = max(float(np.ptp(ends)), 0.05)
        axes.set_ylim(min(ends) - 0.25 * reach, max(ends) + 0.25 * reach)  # clips intervals
        axes.set_xlabel(f"training rows of {table['target'].iat[0]!r}")
        axes.set_ylabel("gain over training from scratch")
        axes.legend(loc="best", fontsize=8)


def _as_percent(share: float, position: int | None = None) -> str:  # noqa: ARG001
    return f"{100 * share:.0f} %".replace("-", "\N{MINUS SIGN}")
