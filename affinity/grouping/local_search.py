"""Local search: move and swap units until nothing improves, kick, and search again."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from .agglomerative import merged_levels
from .best_of import best_of
from .grouping import Grouping
from .grouping_problem import GroupingProblem
from .partition import Partition


@dataclass(frozen=True)
class LocalSearch:
    """Best moves and swaps from the levels of the agglomerative tree, then from kicked copies.

    Every number of networks up to the budget is searched on its own, so that a larger budget never
    ends lower. It proves nothing: `solve` adds the bound of `relaxation.upper_bound`.

    Args:
        kicks: How often the best partition is disturbed and improved again.
    """

    kicks: int = 10

    def __call__(self, request: GroupingProblem) -> Grouping:
        """A good grouping of `request`."""
        return best_of(request, self._partitions(request), "local_search")

    def _partitions(self, request: GroupingProblem) -> Iterator[Int64[np.ndarray, "unit"]]:
        deadline = time.perf_counter() + request.time_limit

        def is_over() -> bool:
            return time.perf_counter() > deadline

        levels = {int(labels.max()) + 1: labels for labels in merged_levels(request)}
        allowed = range(1, request.n_networks + 1)
        for number in [request.n_networks] if request.budget.exactly else reversed(allowed):
            generator = np.random.default_rng([request.seed, number])
            best = Partition(request, levels[number], number)
            best.climb(is_over)
            for _ in range(self.kicks if number > 1 else 0):
                if is_over():
                    break
                labels = best.labels.copy()
                kicked = generator.random(len(labels)) < max(0.1, 2 / len(labels))
                labels[kicked] = generator.integers(number, size=int(kicked.sum()))
                trial = Partition(request, labels, number)
                trial.climb(is_over)
                if trial.score > best.score:
                    best = trial
            yield best.labels
