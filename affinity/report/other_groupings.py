"""Other groupings: the best for every budget, the runners-up, and how sure the best one is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping, GroupingObjective, Stability, frontier, stability
from affinity.words import count

from .labels import short_labels
from .numbers import number
from .one_axes import OneAxes
from .order import clustered_order
from .palette import INK

MOST_EXACT = 12
MOST_TASKS = 200
LARGEST_BUDGET = 8
SECONDS = 8.0
N_REPLICATES = 200


@dataclass(frozen=True)
class Choice:
    """The best grouping for one budget, by estimated affinity.

    Args:
        budget: At most so many networks.
        grouping: What the solver found.
        is_plan: Whether it is the plan that was audited.
    """

    budget: int
    grouping: Grouping
    is_plan: bool

    @property
    def networks(self) -> list[list[str]]:
        """The tasks that each network serves."""
        return networks_of(self.grouping)

    @property
    def summary(self) -> str:
        """The budget, and what its best grouping scores."""
        used = len(self.grouping.networks)
        text = f"At most {count(self.budget, 'network')}"
        if used < self.budget:
            text += f", {used} used"
        text += f": estimated affinity {number(self.grouping.score, signed=True)} over all tasks"
        return text + (", proven best" if self.grouping.is_optimal else "")


def choices_of(matrix: AffinityMatrix, planned: Grouping | None = None) -> list[Choice]:
    """The best grouping for every budget up to the tasks' number or a few, solved anew.

    None for more than 200 tasks, where that would take too long for a page.
    """
    n_tasks = len(matrix.tasks)
    if not 2 <= n_tasks <= MOST_TASKS:
        return []
    is_exact = n_tasks <= MOST_EXACT
    best = frontier(
        matrix,
        largest=n_tasks if is_exact else LARGEST_BUDGET,
        objective=GroupingObjective(unknown=0.0),
        solver=None if is_exact else "local_search",
        time_limit=60.0 if is_exact else SECONDS,
    )
    plan = [] if planned is None else networks_of(planned)
    return [
        Choice(budget, grouping, networks_of(grouping) == plan and len(plan) == budget)
        for budget, grouping in best.items()
    ]


def stability_of(matrix: AffinityMatrix, planned: Grouping) -> Stability | None:
    """How sure the grouping of the plan's budget is.

    None where that cannot be told exactly, or there is but one grouping: one network for all.
    """
    if not 2 <= len(matrix.tasks) <= MOST_EXACT or matrix.standard_error is None:
        return None
    if len(planned.networks) < 2:
        return None
    try:
        return stability(
            matrix,
            len(planned.networks),
            n_replicates=N_REPLICATES,
            objective=GroupingObjective(unknown=0.0),
        )
    except InputError:  # standard errors that are not known for every pair
        return None


def networks_of(grouping: Grouping) -> list[list[str]]:
    """The tasks that each network serves, in an order of their own.

    Example:
        >>> from affinity.grouping import Network
        >>> networks_of(Grouping((Network.of("text"), Network.of("edges", "depth"))))
        [['depth', 'edges'], ['text']]
    """
    return sorted(sorted(network.served) for network in grouping.networks)


@dataclass(frozen=True, eq=False)
class Together(OneAxes):
    """How often two tasks are served by one network when the affinities are drawn again.

    Args:
        stability: Of the grouping.
        matrix: Sets the order of the tasks.
    """

    stability: Stability
    matrix: AffinityMatrix

    def frame(self) -> pd.DataFrame:
        """One row for every two tasks."""
        return self.stability.frame()

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        side = 1.4 + 0.45 * len(self.matrix.tasks)
        return side + 1.6, side + 0.4

    def _draw(self, axes: Axes) -> None:
        order = clustered_order(self.matrix, self.stability.grouping)
        together = self.stability.together[np.ix_(order, order)]
        labels: Sequence[str] = short_labels([self.matrix.tasks[at] for at in order], 18)
        seaborn.heatmap(
            together,
            ax=axes,
            mask=np.triu(np.ones_like(together, dtype=bool)),
            cmap=seaborn.light_palette("#1b7f79", as_cmap=True),
            vmin=0,
            vmax=1,
            square=True,
            linewidths=1.0,
            linecolor="white",
            annot=100 * together,
            fmt=".0f",
            annot_kws={"fontsize": 8},
            xticklabels=labels,
            yticklabels=labels,
            cbar=False,
        )
        axes.tick_params(axis="x", rotation=90, colors=INK, length=0)
        axes.tick_params(axis="y", rotation=0, colors=INK, length=0)
