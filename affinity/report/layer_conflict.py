"""Gradient conflict by layer: where a shared trunk could branch."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from affinity.errors import InputError
from affinity.recording import Trace

from .labels import short_labels
from .palette import DIVERGING
from .picture import AxesPicture, style_ticks


@dataclass(frozen=True, eq=False)
class LayerConflict(AxesPicture):
    """Share of measurements at which two tasks' gradients conflict, by pair and layer.

    0: never. 1: always. One half: unrelated tasks. Pairs that agree in the first layers and
    conflict in the last ones could share a trunk that branches in between.

    Args:
        trace: A run recorded with layers.
        most_pairs: Maximum number of pairs to draw, those in most conflict first.

    Raises:
        InputError: If the trace has no layers.
    """

    trace: Trace
    most_pairs: int = 24

    def __post_init__(self) -> None:
        if self.trace.layers is None or self.trace.layer_gramians is None:
            raise InputError(
                "Expected a trace with Gramians per layer, but this one has none: record it with "
                "layers.",
                "no-layers",
            )

    def frame(self) -> pd.DataFrame:
        """One row per pair of tasks, one column per layer, the pair in most conflict first."""
        gramians, layers = self.trace.layer_gramians, self.trace.layers
        assert gramians is not None
        assert layers is not None
        products = gramians.double().numpy()  # time layer task task
        conflicts = np.where(np.isfinite(products), products < 0, np.nan)
        counts = np.isfinite(conflicts).sum(axis=0)
        share = np.nansum(conflicts, axis=0) / np.where(counts > 0, counts, np.nan)
        tasks = self.trace.tasks
        pairs = list(combinations(range(len(tasks)), 2))
        table = pd.DataFrame(
            [share[:, first, second] for first, second in pairs],
            index=pd.MultiIndex.from_tuples([(tasks[i], tasks[j]) for i, j in pairs]),
            columns=pd.Index(layers, name="layer"),
        )
        worst_first = table.mean(axis=1).sort_values(ascending=False, kind="stable").index
        return table.loc[worst_first]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        n_pairs = min(self.most_pairs, len(self.frame()))
        layers = self.trace.layers
        assert layers is not None
        return min(9.4, 4.2 + 0.6 * len(layers)), 1.6 + 0.26 * n_pairs

    def _draw(self, axes: Axes) -> None:
        table = self.frame().head(self.most_pairs)
        names = dict(zip(self.trace.tasks, short_labels(self.trace.tasks, 18), strict=True))
        seaborn.heatmap(
            table.to_numpy(),
            ax=axes,
            cmap=DIVERGING.reversed(),
            vmin=0,
            vmax=1,
            linewidths=0.5,
            linecolor="white",
            xticklabels=short_labels(list(map(str, table.columns)), 22),
            yticklabels=[f"{names[first]} · {names[second]}" for first, second in table.index],
            cbar_kws={"shrink": 0.6, "aspect": 24, "label": "share of measurements in conflict"},
        )
        style_ticks(axes, rotation=0 if table.shape[1] <= 4 else 90)
