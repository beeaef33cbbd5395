"""Conflict layer by layer: where the gradients of two tasks point apart, hence where to branch."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from affinity.errors import InputError
from affinity.recording import Trace

from .labels import short_labels
from .one_axes import OneAxes
from .palette import DIVERGING, INK


@dataclass(frozen=True, eq=False)
class LayerConflict(OneAxes):
    """Share of measurements at which two tasks' gradients conflict, a row a pair, a column a layer.

    0 says never, 1 always, a half what unrelated tasks show. Pairs that agree in the first layers
    and conflict in the last ones could share a trunk that branches between them.

    Args:
        trace: A run recorded with its layers.
        most_pairs: How many pairs to draw, the ones in most conflict.

    Raises:
        InputError: If the trace has no layers.
    """

    trace: Trace
    most_pairs: int = 24

    def __post_init__(self) -> None:
        if self.trace.layers is None or self.trace.layer_gramians is None:
            raise InputError(
                "Expected a trace with Gramians of its layers, but this one has none: record it "
                "with layers."
            )

    def frame(self) -> pd.DataFrame:
        """One row a pair of tasks, a column a layer, worst pair first."""
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
        axes.tick_params(axis="x", rotation=0 if table.shape[1] <= 4 else 90, colors=INK, length=0)
        axes.tick_params(axis="y", rotation=0, colors=INK, length=0)
