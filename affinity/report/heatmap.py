"""The heatmap of an affinity matrix: sources as rows, targets as columns."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping

from .labels import short_labels
from .numbers import MINUS, number
from .order import clustered_order, reorder
from .palette import DIVERGING, INK, NOISE, SOFT
from .picture import AxesPicture, style_ticks

MOST_NUMBERED = 12
MOST_NAMED = 60
MOST_VECTOR = 24
MOST_CELLS = 300  # for more tasks, a cell is the mean of several neighbouring pairs


@dataclass(frozen=True, eq=False)
class Heatmap(AxesPicture):
    """Affinities with both axes in one clustered order. Blue: helps. Orange: harms.

    Colours are symmetric around 0; the diagonal is left out. Cells within two standard errors of 0
    are grey, unmeasured cells blank. With a grouping, each network is framed: its columns are the
    tasks that it serves, its rows the tasks that it trains.

    Args:
        grouping: The networks to frame.

    Example:
        >>> import torch
        >>> matrix = AffinityMatrix(("depth", "edges"), torch.tensor([[1.0, 0.5], [-0.5, 1.0]]))
        >>> Heatmap(matrix).frame()
        target  depth  edges
        source
        depth     NaN    0.5
        edges    -0.5    NaN
    """

    matrix: AffinityMatrix
    grouping: Grouping | None = None

    @cached_property
    def order(self) -> list[int]:
        """Positions of the tasks as drawn, from the top and from the left."""
        return clustered_order(self.matrix, self.grouping)

    @property
    def tasks(self) -> list[str]:
        """The tasks as drawn, from the top and from the left."""
        return [self.matrix.tasks[position] for position in self.order]

    @cached_property
    def limit(self) -> float:
        """The affinity of the strongest colour: the largest one beyond its noise.

        A single noisy pair would otherwise make all other colours pale.
        """
        sizes = np.abs(reorder(self.matrix.values, self.order))
        known = np.isfinite(sizes)
        if self.matrix.standard_error is not None:
            error = reorder(self.matrix.standard_error, self.order)
            clear = known & (sizes >= 2 * error)  # False where the error is unknown
            known = clear if clear.any() else known
        largest = float(sizes[known].max()) if known.any() else 0.0
        return largest if largest > 0 else 1.0

    def frame(self) -> pd.DataFrame:
        """The values as drawn; NaN on the diagonal."""
        return pd.DataFrame(
            reorder(self.matrix.values, self.order),
            index=pd.Index(self.tasks, name="source"),
            columns=pd.Index(self.tasks, name="target"),
        )

    def within_noise(self) -> pd.DataFrame:
        """Which cells, as drawn, are within two standard errors of 0."""
        values = self.frame()
        if self.matrix.standard_error is None:
            return values.isna() & False
        error = reorder(self.matrix.standard_error, self.order)
        return values.abs() < 2 * error

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        n_tasks = len(self.matrix.tasks)
        cells = min(8.2, max(2.2, n_tasks * (0.62 if n_tasks <= MOST_NUMBERED else 0.3)))
        longest = max(map(len, short_labels(self.matrix.tasks)))
        margin = 0.35 + 0.075 * longest if n_tasks <= MOST_NAMED else 0.4
        return cells + margin + 0.9, cells + margin

    def _draw(self, axes: Axes) -> None:
        values, noise = self.frame(), self.within_noise()
        n_tasks, limit = len(values), self.limit
        if (side := tasks_per_cell(n_tasks)) > 1:
            values, noise = _block_means(values, noise, side)
            limit = float(values.mask(noise).abs().fillna(0).to_numpy().max()) or limit
        labels = short_labels(self.tasks) if n_tasks <= MOST_NAMED else False
        look: dict[str, Any] = {
            "ax": axes,
            "xticklabels": labels,
            "yticklabels": labels,
            "square": True,
            "linewidths": 1.0 if n_tasks <= MOST_NUMBERED else 0.4 if n_tasks <= MOST_VECTOR else 0,
            "linecolor": "white",
            "rasterized": n_tasks > MOST_VECTOR,
        }
        seaborn.heatmap(
            values,
            mask=values.isna() | noise,
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            cbar_kws={"shrink": 0.6, "aspect": 24, "pad": 0.03, "ticks": [-limit, 0, limit]},
            **look,
        )
        bar = axes.collections[0].colorbar
        assert bar is not None
        unit = self._unit
        bar.ax.set_yticklabels([number(-limit / unit), "0", number(limit / unit, signed=True)])
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        scale = "" if unit == 1 else f"\u00d7 10{_raised(round(math.log10(unit)))}\n"
        bar.ax.set_title(f"{scale}helps", fontsize=8.5, color=SOFT, loc="left", pad=6)
        bar.ax.set_xlabel("harms", fontsize=8.5, color=SOFT, loc="left")
        if bool(noise.to_numpy().any()):
            grey = ListedColormap([NOISE])
            seaborn.heatmap(values * 0, mask=~noise, cmap=grey, cbar=False, **look)
        if n_tasks <= MOST_NUMBERED:
            self._write_numbers(axes, values, noise)
        for left, top, width, height in self._frames():
            axes.add_patch(
                Rectangle((left, top), width, height, fill=False, edgecolor=INK, linewidth=1.8)
            )
        outline = Rectangle((0, 0), n_tasks, n_tasks, fill=False, edgecolor="none", linewidth=0)
        outline.set_gid("at-cells")
        axes.add_patch(outline)
        axes.set_xlim(-0.06, n_tasks + 0.06)
        axes.set_ylim(n_tasks + 0.06, -0.06)
        axes.set_ylabel("source: the task of the training step")
        axes.set_xlabel("target: the task whose loss is observed", labelpad=8)
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        style_ticks(axes)

    @property
    def _unit(self) -> float:
        """A power of ten that makes the numbers short; 1 if they are already."""
        power = math.floor(math.log10(self.limit))
        return 1.0 if -2 <= power <= 2 else 10.0**power

    def _write_numbers(self, axes: Axes, values: pd.DataFrame, noise: pd.DataFrame) -> None:
        table, grey = values.to_numpy(), noise.to_numpy()
        for row, column in np.argwhere(np.isfinite(table)):
            value = float(table[row, column])
            strong = abs(value) > 0.62 * self.limit and not grey[row, column]
            axes.text(
                column + 0.5,
                row + 0.5,
                _short(value / self._unit),
                ha="center",
                va="center",
                fontsize=8,
                color=SOFT if grey[row, column] else "white" if strong else INK,
            )

    def _frames(self) -> Iterator[tuple[int, int, int, int]]:
        """Left, top, width and height of each network's frames: columns served, runs of rows."""
        if self.grouping is None:
            return
        position = {task: number for number, task in enumerate(self.tasks)}
        for network in self.grouping.networks:
            columns = [position[task] for task in network.served]
            rows = sorted(position[task] for task in network.trained)
            breaks = [row for row in range(1, len(rows)) if rows[row] != rows[row - 1] + 1]
            for run in np.split(np.array(rows), breaks):
                yield min(columns), int(run[0]), len(columns), len(run)


def tasks_per_cell(n_tasks: int) -> int:
    """The number of neighbouring sources, and of neighbouring targets, of a cell."""
    return math.ceil(n_tasks / MOST_CELLS)


def _block_means(
    values: pd.DataFrame, noise: pd.DataFrame, side: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every value replaced by its block's mean, and which blocks are mostly within noise."""
    block = np.arange(len(values)) // side

    def total(table: pd.DataFrame) -> pd.DataFrame:
        sums = np.add.reduceat(table.to_numpy(float), np.unique(block) * side, axis=0)
        sums = np.add.reduceat(sums, np.unique(block) * side, axis=1)
        return pd.DataFrame(sums[block][:, block], table.index, table.columns)

    known = total(values.notna())
    return total(values.fillna(0)) / known.where(known > 0), total(noise) > known / 2


def _short(value: float) -> str:
    text = f"{abs(value):.2f}" if abs(value) < 10 else f"{abs(value):.0f}"
    return text if not text.strip("0.") or value > 0 else MINUS + text


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
