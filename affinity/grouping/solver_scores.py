"""Solver scores: affinities and tables of groups, checked, in the form that solvers read."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64

from .budget import Budget


@dataclass(frozen=True, eq=False)
class Pairs:
    """The contribution of every source to every target's score, including weights."""

    tasks: tuple[str, ...]  # in the order of names, so that the order of the input has no effect
    onto: Float64[np.ndarray, "source target"]  # the addends, 0 on the diagonal
    lone: Float64[np.ndarray, "task"]  # of each task trained alone
    is_mean: bool  # partners are averaged; else summed
    smallest: int  # minimum number of tasks of a network

    def score(self, trained: Sequence[int], served: Sequence[int]) -> float:
        """The summed score of the `served` tasks in a network trained on `trained`."""
        if len(trained) < self.smallest:
            return -np.inf
        if len(trained) == 1:
            return float(self.lone[served[0]])
        total = float(self.onto[np.ix_(trained, served)].sum())
        return total / (len(trained) - 1) if self.is_mean else total


@dataclass(frozen=True, eq=False)
class Table:
    """Candidate networks, the weighted score of each task they can serve, and their costs."""

    tasks: tuple[str, ...]  # in the order of their names
    trained: Bool[np.ndarray, "candidate task"]  # which tasks each candidate trains
    scores: Float64[np.ndarray, "candidate task"]  # NaN where the candidate cannot serve the task
    costs: Float64[np.ndarray, "candidate"]
    variants: tuple[str | None, ...]

    @classmethod
    def of_pairs(cls, pairs: Pairs, budget: Budget, largest: int) -> "Table":
        """Every group of up to `largest` tasks."""
        n_tasks = len(pairs.tasks)
        groups = [
            list(group)
            for size in range(pairs.smallest, largest + 1)
            for group in combinations(range(n_tasks), size)
        ]
        trained = np.zeros((len(groups), n_tasks), dtype=bool)
        for row, group in enumerate(groups):
            trained[row, group] = True
        totals = trained.astype(float) @ pairs.onto
        sizes = trained.sum(axis=1)[:, None]
        pooled = totals / np.maximum(sizes - 1, 1) if pairs.is_mean else totals
        scores = np.where(sizes == 1, pairs.lone, pooled)
        return cls(
            tasks=pairs.tasks,
            trained=trained,
            scores=np.where(trained, scores, np.nan),
            costs=np.array(
                [budget.of(frozenset(pairs.tasks[task] for task in group)) for group in groups],
                dtype=np.float64,
            ),
            variants=(None,) * len(groups),
        )
