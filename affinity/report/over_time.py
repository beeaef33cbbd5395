"""Affinity over training time: one heatmap per part of the run."""

import itertools
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from affinity.errors import check_number
from affinity.estimates import AffinityMatrix
from affinity.estimates.relative import RatioWarning
from affinity.grouping import Grouping
from affinity.recording import Trace

from .labels import short_labels
from .order import clustered_order, reorder
from .palette import DIVERGING, INK
from .picture import Picture, style_ticks

MOST_NAMED = 16


@dataclass(frozen=True, eq=False)
class OverTime(Picture):
    """The affinities of consecutive parts of one run, in one order and on one scale.

    Affinities often change sign during training: near a joint optimum the gradients of related
    tasks cancel, so that they appear to conflict.

    Args:
        grouping: Sets the order of the tasks, if given.
        n_parts: Number of parts, with about equal numbers of measurements.

    Raises:
        InputError: If the trace has fewer measurements than parts.
    """

    trace: Trace
    estimator: Callable[[Trace], AffinityMatrix]
    grouping: Grouping | None = None
    n_parts: int = 4

    def __post_init__(self) -> None:
        most = len(self.trace)
        check_number("the number of parts", self.n_parts, "too-many-parts", least=1, most=most)

    @property
    def parts(self) -> list[tuple[int, int, AffinityMatrix]]:
        """First step, last step and affinities of each part."""
        borders = np.linspace(0, len(self.trace), self.n_parts + 1).round().astype(int)
        with warnings.catch_warnings():
            # The estimate of the whole run warns already.
            warnings.simplefilter("ignore", RatioWarning)
            return [
                (
                    int(self.trace.steps[start]),
                    int(self.trace.steps[end - 1]),
                    self.estimator(_part(self.trace, slice(int(start), int(end)))),
                )
                for start, end in itertools.pairwise(borders)
            ]

    def frame(self) -> pd.DataFrame:
        """One row per part and pair: first_step, last_step, source, target, affinity."""
        return pd.concat(
            [
                matrix.frame().assign(first_step=first, last_step=last)
                for first, last, matrix in self.parts
            ],
            ignore_index=True,
        )[["first_step", "last_step", "source", "target", "affinity"]]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        if len(self.trace.tasks) > MOST_NAMED:
            return 9.6, 9.4 / self.n_parts + 0.2
        names = 0.2 + 0.08 * max(map(len, self._labels(range(len(self.trace.tasks)))))
        return 9.4 + names, 9.4 / self.n_parts + 0.2 + names

    def draw(self, figure: Figure) -> None:
        """Draw on an empty figure of this size."""
        parts = self.parts
        order = clustered_order(self.estimator(self.trace), self.grouping)
        squares = [reorder(matrix.values, order) for _, _, matrix in parts]
        sizes = np.abs(np.stack(squares))
        limit = float(np.nanmax(sizes)) if np.isfinite(sizes).any() else 1.0
        n_tasks = len(order)
        labels = self._labels(order)
        panels: list[Axes] = list(np.atleast_1d(figure.subplots(1, len(parts))))
        for number, (axes, square, (first, last, _)) in enumerate(
            zip(panels, squares, parts, strict=True)
        ):
            is_named = n_tasks <= MOST_NAMED
            seaborn.heatmap(
                square,
                ax=axes,
                cmap=DIVERGING,
                vmin=-limit or -1.0,
                vmax=limit or 1.0,
                cbar=False,
                square=True,
                linewidths=0.5 if is_named else 0,
                linecolor="white",
                rasterized=n_tasks > MOST_NAMED,
                xticklabels=labels if is_named else False,
                yticklabels=labels if is_named and number == 0 else False,
            )
            axes.set_anchor("N")  # leave spare room below, for the names
            axes.set_title(f"steps {first:,} to {last:,}", fontsize=9.5, color=INK, loc="left")
            style_ticks(axes)

    def _labels(self, order: Iterable[int]) -> list[str]:
        return short_labels([self.trace.tasks[position] for position in order], longest=16)


def _part(trace: Trace, when: slice) -> Trace:
    tensors = {
        field.name: value[when]
        for field in fields(trace)
        if isinstance(value := getattr(trace, field.name), Tensor)
    }
    return replace(trace, **tensors)
