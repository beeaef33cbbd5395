"""Local search: move and swap units until nothing improves, perturb, and search again."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .partition import Partition, any_partition
from .serving import grouping_of


@dataclass(frozen=True)
class LocalSearch:
    """Best moves and swaps from the levels of an agglomerative tree, then from perturbed copies.

    Every number of networks up to the budget is searched separately, so that a larger budget never
    gives a lower score. It gives no bound on the best score: `solve` adds the one of
    `relaxation.upper_bound`.
    """

    perturbations: int = 10  # how often the best partition is perturbed and improved again

    def __call__(self, problem: GroupingProblem) -> Grouping:
        """The best grouping found by the time limit; the search stops only after a first one."""
        began = time.perf_counter()
        best: tuple[float, Grouping] | None = None

        def is_over() -> bool:
            return best is not None and time.perf_counter() - began > problem.time_limit

        for labels in self._partitions(problem):
            if is_over():
                break
            best = _better(problem, labels, best, is_over)
        if best is None and (labels := any_partition(problem)) is not None:
            best = _better(problem, labels, best, is_over)
        if best is None:
            raise NothingFoundError(
                f"Local search found no grouping of {problem.budget} that respects "
                f"{problem.constraints}. Try another solver, or fewer constraints."
            )
        return replace(best[1], seconds=time.perf_counter() - began)

    def _partitions(self, problem: GroupingProblem) -> Iterator[Int64[np.ndarray, "unit"]]:
        deadline = time.perf_counter() + problem.time_limit

        def is_over() -> bool:
            return time.perf_counter() > deadline

        levels = {int(labels.max()) + 1: labels for labels in _tree_levels(problem)}
        fewest = problem.n_networks if problem.budget.exactly else 1
        for number in range(problem.n_networks, fewest - 1, -1):
            generator = np.random.default_rng([problem.seed, number])
            best = Partition(problem, levels[number], number)
            best.climb(is_over)
            for _ in range(self.perturbations if number > 1 else 0):
                if is_over():
                    break
                labels = best.labels.copy()
                moved = generator.random(len(labels)) < max(0.1, 2 / len(labels))
                labels[moved] = generator.integers(number, size=int(moved.sum()))
                trial = Partition(problem, labels, number)
                trial.climb(is_over)
                if trial.score > best.score:
                    best = trial
            yield best.labels


def _tree_levels(problem: GroupingProblem) -> Iterator[Int64[np.ndarray, "unit"]]:
    """The partitions from every unit alone to one network: each step merges the best two."""
    labels = np.arange(len(problem.units))
    partition = Partition(problem, labels, len(labels))
    networks = labels.copy()
    yield labels
    gains = partition.merge_gains()
    while len(networks) > 1:
        one, other = sorted(divmod(int(gains.argmax()), len(gains)))
        partition.merge(one, other)
        networks = networks[networks != other]
        gains[other, :] = gains[:, other] = -np.inf
        gains[one, :] = gains[:, one] = partition.merge_gains(one)
        yield np.searchsorted(networks, partition.labels)


def _better(
    problem: GroupingProblem,
    labels: Int64[np.ndarray, "unit"],
    best: tuple[float, Grouping] | None,
    is_over: Callable[[], bool],
) -> tuple[float, Grouping] | None:
    """The score and grouping of `labels` if they are better than `best`, else `best`.

    Labels that violate a constraint are repaired by moves and swaps first.
    """
    partition = Partition(problem, labels, problem.n_networks)
    if not partition.is_allowed:
        partition.climb(is_over)
    if not partition.is_allowed:
        return best
    is_simple = problem.budget.cost is None and not problem.may_help.any()
    if best is not None and is_simple and partition.score <= best[0]:
        return best
    score, grouping = grouping_of(problem, partition.served, "local_search")
    if (best is not None and score <= best[0]) or not problem.within_cost(grouping):
        return best
    return score, grouping
