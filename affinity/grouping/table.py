"""A table of candidate networks in the form that solvers read."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64

from .budget import Budget
from .pairs import Pairs


@dataclass(frozen=True, eq=False)
class Table:
    """Candidate networks, the weighted score of each task they can serve, and what they cost.

    Args:
        tasks: In the order of their names.
        trained: ``[candidate task]``.
        scores: ``[candidate task]``; NaN where the candidate cannot serve the task.
        costs: Of each candidate.
        variants: Of each candidate.
    """

    tasks: tuple[str, ...]
    trained: Bool[np.ndarray, "candidate task"]
    scores: Float64[np.ndarray, "candidate task"]
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
