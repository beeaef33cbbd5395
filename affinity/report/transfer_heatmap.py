"""The directed heatmap of measured transfer: what each source gave each target, with verdicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .labels import short_labels
from .one_axes import OneAxes
from .palette import DIVERGING, INK, NOISE, SOFT

MOST_NUMBERED = 14


@dataclass(frozen=True, eq=False)
class TransferHeatmap(OneAxes):
    """Sources as rows, targets as columns; blue helps, orange harms, grey is not decided.

    A number is the share of the target's loss from scratch that is gone, in percent: bold where it
    was decided, with a sign of near equality where it is neutral. Colours are symmetric about 0 and
    end at the largest gain or loss that was decided, or at 100 %.

    Args:
        result: As `Transfer.to_dict` gives it.
    """

    result: Mapping[str, Any]

    def frame(self) -> pd.DataFrame:
        """The gains; NaN where a source was trained on the target."""
        return self._table("gain").astype(float)

    def verdicts(self) -> pd.DataFrame:
        """The verdict of each pair; None where a source was trained on the target."""
        return self._table("verdict")

    @property
    def limit(self) -> float:
        """The gain of the strongest colour, either way."""
        gains, verdicts = self.frame().to_numpy(), self.verdicts().to_numpy()
        told = np.isfinite(gains) & ((verdicts == "beneficial") | (verdicts == "harmful"))
        sizes = np.abs(gains[told])
        return float(min(1.0, max(sizes.max(), 0.01))) if sizes.size else 0.1

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        rows, columns = self.frame().shape
        longest = [max(map(len, short_labels(self.result[k]))) for k in ("sources", "targets")]
        each = 0.62 if max(rows, columns) <= MOST_NUMBERED else 0.3
        return each * columns + 0.35 + 0.075 * longest[0], each * rows + 0.8 + 0.075 * longest[1]

    def _draw(self, axes: Axes) -> None:
        gains, verdicts, limit = self.frame(), self.verdicts(), self.limit
        n_rows, n_columns = gains.shape
        for (row, column), gain in np.ndenumerate(gains.to_numpy()):
            if not math.isfinite(gain):
                continue
            verdict = str(verdicts.iat[row, column])
            colour: Any = NOISE
            if verdict != "undecided":
                colour = DIVERGING(0.5 + 0.5 * float(np.clip(gain / limit, -1, 1)))
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white"))
            if max(gains.shape) <= MOST_NUMBERED:
                is_strong = verdict != "undecided" and abs(gain) > 0.62 * limit
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    ("\N{ALMOST EQUAL TO}" if verdict == "neutral" else "") + _percents(gain),
                    ha="center",
                    va="center",
                    fontsize=8,
                    fontweight="normal" if verdict == "undecided" else "bold",
                    color=SOFT if verdict == "undecided" else "white" if is_strong else INK,
                )
        axes.set_xlim(0, n_columns)
        axes.set_ylim(n_rows, 0)
        axes.set_aspect("equal")
        axes.set_xticks(np.arange(n_columns) + 0.5, short_labels(list(gains.columns)), rotation=90)
        axes.set_yticks(np.arange(n_rows) + 0.5, short_labels(list(gains.index)))
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        axes.tick_params(colors=INK, length=0)
        axes.set_ylabel("source: learned first")
        axes.set_xlabel("target: its gain, %")
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _table(self, key: str) -> pd.DataFrame:
        sources, targets = self.result["sources"], self.result["targets"]
        found = {(pair["source"], pair["target"]): pair[key] for pair in self.result["pairs"]}
        return pd.DataFrame(
            [[found.get((source, target)) for target in targets] for source in sources],
            index=pd.Index(sources, name="source"),
            columns=pd.Index(targets, name="target"),
        )


def _percents(gain: float) -> str:
    hundredths = 100 * gain
    text = f"{abs(hundredths):.0f}" if abs(hundredths) < 1000 else ">999"
    return ("\N{MINUS SIGN}" if hundredths < 0 and text != "0" else "") + text
