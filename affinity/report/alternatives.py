"""Alternative groupings: the best one for every budget, the runners-up, and their stability."""

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
from .order import clustered_order
from .picture import AxesPicture, style_ticks

MOST_EXACT = 12
MOST_TASKS = 200
LARGEST_BUDGET = 8
SECONDS = 4.0
N_REPLICATES = 200


@dataclass(frozen=True)
class BudgetChoice:
    """The best grouping for one budget, by estimated affinity.

    Args:
        budget: Maximum number of networks.
        networks: The tasks that each network serves.
        score: Estimated affinity, summed over the tasks.
        is_optimal: Whether no grouping within the budget scores higher.
        is_plan: Whether it is the audited plan.
    """

    budget: int
    networks: list[list[str]]
    score: float | None
    is_optimal: bool
    is_plan: bool

    @property
    def title(self) -> str:
        """The budget and the score of its best grouping."""
        used = f" ({len(self.networks)} used)" if len(self.networks) < self.budget else ""
        proof = ", proven optimal" if self.is_optimal else ""
        score = number(self.score, signed=True)
        return f"Up to {count(self.budget, 'network')}{used}: estimated affinity {score}{proof}"


def solve_budgets(matrix: AffinityMatrix, planned: Grouping | None = None) -> list[BudgetChoice]:
    """Solve for the best grouping at every budget, up to 8 for more than 12 tasks.

    Empty for more than 200 tasks: solving would take too long for a page.
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
    plan = [] if planned is None else served_tasks(planned)
    return [
        BudgetChoice(
            budget=budget,
            networks=(networks := served_tasks(grouping)),
            score=grouping.score,
            is_optimal=grouping.is_optimal,
            is_plan=networks == plan and len(plan) == budget,
        )
        for budget, grouping in best.items()
    ]


def measure_stability(matrix: AffinityMatrix, planned: Grouping) -> Stability | None:
    """Resample the affinities within their errors, and solve for the plan's budget each time.

    None for more than 12 tasks, for a single network, or without errors of all pairs.
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
    except InputError:  # some standard errors are unknown
        return None


def served_tasks(grouping: Grouping) -> list[list[str]]:
    """The tasks that each network serves, sorted."""
    return sorted(sorted(network.served) for network in grouping.networks)


@dataclass(frozen=True, eq=False)
class ConsensusHeatmap(AxesPicture):
    """Share of resampled matrices in which one network serves both tasks.

    Args:
        matrix: Sets the order of the tasks.
    """

    stability: Stability
    matrix: AffinityMatrix

    def frame(self) -> pd.DataFrame:
        """One row per pair of tasks."""
        return self.stability.frame()

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        side = 1.4 + 0.45 * len(self.matrix.tasks)
        return side + 1.6, side + 0.4

    def _draw(self, axes: Axes) -> None:
        order = clustered_order(self.matrix, self.stability.grouping)
        together = self.stability.together[np.ix_(order, order)]
        labels = short_labels([self.matrix.tasks[position] for position in order], 18)
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
        style_ticks(axes)
