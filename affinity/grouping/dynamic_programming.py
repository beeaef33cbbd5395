"""Dynamic programming: exact best partitions, for many samples of the scores at once."""

import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from affinity.errors import InputError, check_number

from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .serving import grouping_of, serving_values, submasks

MOST_LISTED_TASKS = 10  # the number of tasks up to which all groups are listed


@dataclass(frozen=True)
class DynamicProgramming:
    r"""Exact for up to `largest` units, for any scores.

    .. math::
        E_k(S) = \max_{\ell(S) \in R \subseteq S} v(R) + E_{k-1}(S \setminus R)

    with :math:`v` the serving values and :math:`\ell(S)` the first unit of :math:`S`. It takes
    :math:`O(3^{n-1} k)` steps.
    """

    largest: int = 14

    def __call__(self, problem: GroupingProblem) -> Grouping:
        """The best grouping of `problem`."""
        began = time.perf_counter()
        by_number = self.by_number(problem)
        if problem.budget.exactly:
            by_number = {n: g for n, g in by_number.items() if n == problem.budget.networks}
        if not by_number:
            raise NothingFoundError(f"No partition makes a grouping of {problem.budget}.")
        best = max(by_number.values(), key=lambda grouping: grouping.score or 0.0)
        return replace(best, seconds=time.perf_counter() - began)

    def by_number(self, problem: GroupingProblem) -> dict[int, Grouping]:
        """The best grouping of exactly 1, 2, ... networks, for the numbers that have one."""
        if len(problem.units) > self.largest or problem.budget.cost is not None:
            raise InputError(
                f"Dynamic programming handles up to {self.largest} tasks without costs, but got "
                f"{len(problem.units)} and {problem.budget}. Use another solver.",
                "too-large-for-solver",
            )
        partitions = BestPartitions(serving_values(problem)[None], problem.n_networks)
        best: dict[int, Grouping] = {}
        for number in range(problem.n_networks + 1):
            if partitions.scores[number, 0, 0] > -np.inf:
                score, grouping = grouping_of(
                    problem, partitions.served(number), "dynamic_programming"
                )
                best[number] = replace(grouping, bound=score)
        return best


class BestPartitions:
    """The best partitions into every number of networks, for several samples of the values at once.

    `values` are those of a network that serves each subset of the units, as a bit mask; `scores`
    those of the `n_best` partitions, minus infinity where there is none.
    """

    scores: Float64[np.ndarray, "number sample rank"]

    def __init__(
        self, values: Float64[np.ndarray, "sample subset"], n_networks: int, n_best: int = 1
    ) -> None:
        n_samples, n_subsets = values.shape
        self._n_units = n_subsets.bit_length() - 1
        best = np.full((n_networks + 1, n_samples, n_best, n_subsets), -np.inf)
        best[0, :, 0, 0] = 0.0
        self._part = np.zeros(best.shape, dtype=np.int32)
        self._rank_of_rest = np.zeros(best.shape, dtype=np.int32)
        allowed = values.max(axis=0) > -np.inf
        whole = n_subsets - 1
        # All but the whole come without the first unit, which is in the first network.
        for subset in [*(range(2, whole, 2) if n_networks > 1 else ()), whole]:
            most = n_networks if subset == whole else n_networks - 1
            first = subset & -subset
            parts = submasks(subset ^ first) | first
            parts = parts[allowed[parts]]
            if not len(parts):
                continue
            totals = values[:, None, parts] + best[:most, :, :, subset ^ parts]
            totals = totals.reshape(most, n_samples, -1)  # number sample rank-and-part
            if n_best == 1:
                chosen = totals.argmax(axis=-1)[..., None]
            else:
                chosen = np.argsort(-totals, axis=-1, kind="stable")[..., :n_best]
            target = (slice(1, most + 1), slice(None), slice(chosen.shape[-1]), subset)
            best[target] = np.take_along_axis(totals, chosen, axis=-1)
            self._part[target] = parts[chosen % len(parts)]
            self._rank_of_rest[target] = chosen // len(parts)
        self.scores = best[..., -1]

    def masks(
        self, number: Int64[np.ndarray, " row"], sample: Int64[np.ndarray, " row"], rank: int = 0
    ) -> Int[np.ndarray, "row network"]:
        """The units that each network of some partitions serves, as bit masks; 0 is no network."""
        left = np.full(len(sample), (1 << self._n_units) - 1)
        ranks = np.full(len(sample), rank)
        networks: list[np.ndarray] = []
        for used in range(int(number.max(initial=0))):
            place = (np.maximum(number - used, 0), sample, ranks, left)
            part = np.where(left > 0, self._part[place], 0)
            ranks = self._rank_of_rest[place]
            left = left & ~part
            networks.append(part)
        return np.stack(networks, axis=1)

    def served(self, number: int, sample: int = 0, rank: int = 0) -> list[list[int]]:
        """The units that each network of one partition serves."""
        (masks,) = self.masks(np.array([number]), np.array([sample]), rank)
        return [
            [unit for unit in range(self._n_units) if mask >> unit & 1] for mask in masks.tolist()
        ]


def best_partitions(problem: GroupingProblem, number: int) -> list[tuple[float, Grouping]]:
    """The groupings of highest score, the best first; without costs, up to 12 units."""
    partitions = BestPartitions(serving_values(problem)[None], problem.n_networks, number)
    scores = partitions.scores[:, 0]  # number rank
    if problem.budget.exactly:
        scores[:-1] = -np.inf
    ranked = np.argsort(-scores, axis=None, kind="stable")[:number]
    places = np.stack(np.unravel_index(ranked, scores.shape), axis=1).tolist()
    return [
        grouping_of(problem, partitions.served(n, rank=rank), "dynamic_programming")
        for n, rank in places
        if scores[n, rank] > -np.inf
    ]


def all_groups(n_tasks: int) -> Bool[np.ndarray, "group task"]:
    """Every set of at least one task; row r holds the tasks of the binary digits of r + 1.

    Raises:
        InputError: If there are more than `MOST_LISTED_TASKS` tasks.

    Example:
        >>> all_groups(2).astype(int).tolist()
        [[1, 0], [0, 1], [1, 1]]
    """
    check_number("the number of tasks", n_tasks, "too-many-tasks", most=MOST_LISTED_TASKS)
    return ((np.arange(1, 2**n_tasks)[:, None] >> np.arange(n_tasks)) & 1).astype(bool)


def solve_posterior_samples(
    values: Float[np.ndarray, "sample group"], n_tasks: int, networks: int
) -> tuple[Float[np.ndarray, " sample"], Int64[np.ndarray, "sample network"]]:
    """For each sample, the highest sum of values over disjoint groups that hold every task.

    Args:
        values: The value of each of `all_groups` in each sample.

    Returns:
        The best sum of each sample, and the rows of its groups in `all_groups`; -1 where fewer
        groups are used.

    Example:
        >>> values = np.array([[0.0, 0.0, 1.0], [0.5, 0.75, 1.0]])
        >>> solve_posterior_samples(values, n_tasks=2, networks=2)[0].tolist()
        [1.0, 1.25]
    """
    samples = np.arange(len(values))
    with_empty = np.concatenate([np.full((len(values), 1), -np.inf), values], axis=1)
    partitions = BestPartitions(with_empty, min(networks, n_tasks))
    scores = partitions.scores[..., 0]  # number sample
    number = scores.argmax(axis=0)
    rows = np.full((len(values), networks), -1)
    masks = partitions.masks(number, samples)
    rows[:, : masks.shape[1]] = masks - 1
    return scores[number, samples], rows
