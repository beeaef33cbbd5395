"""Gate use: the weight that each task's gate gives to each expert."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from affinity.audit import Gates

from .labels import short_labels
from .palette import INK
from .picture import AxesPicture, style_ticks


@dataclass(frozen=True, eq=False)
class GateUse(AxesPicture):
    """Mean weight of each expert, one row per task, one block per replicate.

    A row sums to 1 within a replicate. A single dark cell in a row: the gate uses one expert only.
    Equal rows: the gates do not distinguish the tasks. Experts are ordered by their use, since
    experts of different replicates do not correspond.

    Args:
        gates: Of one mixture of experts.
        most_replicates: Maximum number of replicates to draw.
    """

    gates: Gates
    most_replicates: int = 3

    def frame(self) -> pd.DataFrame:
        """One row per replicate, task and expert: weight; the most used expert first."""
        rows = [
            (replicate, task, expert, weight)
            for replicate, weights in enumerate(self._ordered(), start=1)
            for task, row in zip(self.gates.tasks, weights.tolist(), strict=True)
            for expert, weight in enumerate(row, start=1)
        ]
        return pd.DataFrame(rows, columns=["replicate", "task", "expert", "weight"])

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        n_replicates, n_gates, n_experts = self.gates.utilization.shape
        columns = min(n_replicates, self.most_replicates) * (n_experts + 0.5)
        return min(9.4, 3.4 + 0.5 * columns), 1.1 + 0.32 * n_gates

    def _draw(self, axes: Axes) -> None:
        drawn = self._ordered()[: self.most_replicates]
        n_experts = drawn[0].shape[1]
        gap = np.full((len(self.gates.tasks), 1), np.nan)
        parts = [part for weights in drawn for part in (weights, gap)][:-1]
        numbers = [*map(str, range(1, n_experts + 1)), ""]
        table = np.hstack(parts)
        seaborn.heatmap(
            table,
            ax=axes,
            cmap=seaborn.light_palette("#1b7f79", as_cmap=True),
            vmin=0,
            vmax=1,
            linewidths=0.5,
            linecolor="white",
            annot=100 * table if len(self.gates.tasks) <= 24 else None,
            fmt=".0f",
            annot_kws={"fontsize": 8},
            xticklabels=(numbers * len(drawn))[: table.shape[1]],
            yticklabels=short_labels(self.gates.tasks, 22),
            cbar=False,
        )
        for number in range(len(drawn)):
            middle = number * (n_experts + 1) + n_experts / 2
            axes.text(middle, -0.15, f"replicate {number + 1}", ha="center", color=INK, fontsize=9)
        axes.set_xlabel("experts, the most used first; weight in percent")
        style_ticks(axes, rotation=0)

    def _ordered(self) -> list[np.ndarray]:
        squares = [weights.double().numpy() for weights in self.gates.utilization]  # gate expert
        return [square[:, np.argsort(-square.sum(axis=0), kind="stable")] for square in squares]
