"""Heatmap of measured transfer: the gain of each source on each target, with verdicts."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from affinity.transfer import TransferSummary

from .labels import short_labels
from .palette import DIVERGING, INK, NOISE, SOFT
from .picture import AxesPicture

MOST_NUMBERED = 14


@dataclass(frozen=True, eq=False)
class TransferHeatmap(AxesPicture):
    """Sources as rows, targets as columns; blue: beneficial, orange: harmful, grey: undecided.

    Numbers are relative reductions in test loss compared with training from scratch, in percent:
    bold if beneficial or harmful, with ≈ if neutral. Colours are symmetric about 0 and end at the
    largest gain or loss with a verdict, or at 100 %.
    """

    summary: TransferSummary

    def frame(self) -> pd.DataFrame:
        """The gains; NaN if a source was trained on the target."""
        return self._table("gain").astype(float)

    def verdicts(self) -> pd.DataFrame:
        """The verdict on each pair; None if a source was trained on the target."""
        return self._table("verdict")

    @property
    def limit(self) -> float:
        """The absolute gain of the strongest colours."""
        gains, verdicts = self.frame().to_numpy(), self.verdicts().to_numpy()
        is_decided = np.isfinite(gains) & ((verdicts == "beneficial") | (verdicts == "harmful"))
        sizes = np.abs(gains[is_decided])
        return float(min(1.0, max(sizes.max(), 0.01))) if sizes.size else 0.1

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        rows, columns = self.frame().shape
        left, top = (
            0.075 * max(map(len, short_labels(list(names))))
            for names in (self.summary.sources, self.summary.targets)
        )
        cell = 0.62 if max(rows, columns) <= MOST_NUMBERED else 0.3
        return cell * columns + 0.35 + left, cell * rows + 0.8 + top

    def _draw(self, axes: Axes) -> None:
        gains, verdicts, limit = self.frame(), self.verdicts(), self.limit
        n_rows, n_columns = gains.shape
        for (row, column), gain in np.ndenumerate(gains.to_numpy()):
            if not math.isfinite(gain):
                continue
            verdict = str(verdicts.iat[row, column])
            is_decided = verdict != "undecided"
            shade = DIVERGING(0.5 + 0.5 * float(np.clip(gain / limit, -1, 1)))
            colour = shade if is_decided else NOISE
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white"))
            if max(gains.shape) <= MOST_NUMBERED:
                is_strong = is_decided and abs(gain) > 0.62 * limit
                axes.text(
                    column + 0.5,
                    row + 0.5,
                    ("\N{ALMOST EQUAL TO}" if verdict == "neutral" else "") + _percents(gain),
                    ha="center",
                    va="center",
                    fontsize=8,
                    fontweight="bold" if is_decided else "normal",
                    color="white" if is_strong else INK if is_decided else SOFT,
                )
        axes.set_xlim(0, n_columns)
        axes.set_ylim(n_rows, 0)
        axes.set_aspect("equal")
        axes.set_xticks(np.arange(n_columns) + 0.5, short_labels(list(gains.columns)), rotation=90)
        axes.set_yticks(np.arange(n_rows) + 0.5, short_labels(list(gains.index)))
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        axes.tick_params(colors=INK, length=0)
        axes.set_ylabel("source")
        axes.set_xlabel("target: gain in %")
        for spine in axes.spines.values():
            spine.set_visible(False)

    def _table(self, key: str) -> pd.DataFrame:
        sources, targets = self.summary.sources, self.summary.targets
        values = {(pair.source, pair.target): getattr(pair, key) for pair in self.summary.pairs}
        return pd.DataFrame(
            [[values.get((source, target)) for target in targets] for source in sources],
            index=pd.Index(sources, name="source"),
            columns=pd.Index(targets, name="target"),
        )


def _percents(gain: float) -> str:
    hundredths = 100 * gain
    text = f"{abs(hundredths):.0f}" if abs(hundredths) < 1000 else ">999"
    return ("\N{MINUS SIGN}" if hundredths < 0 and text != "0" else "") + text
