"""Dynamic programming: the exact best partition, for every number of networks at once."""

import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from affinity.errors import InputError

from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .serving import grouping_of, serving_values, submasks


@dataclass(frozen=True)
class DynamicProgramming:
    r"""Exact for up to `largest` units, whatever the scores are.

    .. math::
        E_k(S) = \max_{\ell(S) \in R \subseteq S} v(R) + E_{k-1}(S \setminus R)

    with :math:`v` the serving values and :math:`\ell(S)` the first unit of :math:`S`. It takes
    :math:`O(3^{n-1} k)` steps.

    Example:
        >>> DynamicProgramming().largest
        14
    """

    largest: int = 14

    def __call__(self, request: GroupingProblem) -> Grouping:
        """The best grouping of `request`.

        Raises:
            InputError: If there are more than `largest` units, or costs.
        """
        began = time.perf_counter()
        found = self.by_number(request)
        if request.budget.exactly:
            found = {n: each for n, each in found.items() if n == request.budget.networks}
        if not found:
            raise NothingFoundError(f"No partition makes a grouping of {request.budget}.")
        best = max(found.values(), key=lambda each: each.score or 0.0)
        return replace(best, seconds=time.perf_counter() - began)

    def by_number(self, request: GroupingProblem) -> dict[int, Grouping]:
        """The best grouping of exactly 1, 2, ... networks; without the numbers that have none.

        Raises:
            InputError: If there are more than `largest` units, or costs.
        """
        if len(request.units) > self.largest or request.budget.cost is not None:
            raise InputError(
                f"Expected at most {self.largest} tasks and no cost for dynamic programming, but "
                f"got {len(request.units)} and {request.budget}. Use another solver."
            )
        found = BestPartitions(serving_values(request)[None], request.n_networks)
        numbers = [n for n in range(request.n_networks + 1) if found.scores[n, 0] > -np.inf]
        best: dict[int, Grouping] = {}
        for number in numbers:
            score, grouping = grouping_of(request, found.served(number), "dynamic_programming")
            best[number] = replace(grouping, bound=score)
        return best


class BestPartitions:
    """The best partition into every number of networks, for several serving values at once.

    `scores` holds their values, ``[number replicate]``; minus infinity where there is none.
    """

    def __init__(self, values: Float64[np.ndarray, "replicate subset"], n_networks: int) -> None:
        n_replicates, n_subsets = values.shape
        self._n_units = n_subsets.bit_length() - 1
        best = np.full((n_networks + 1, n_replicates, n_subsets), -np.inf)
        best[0, :, 0] = 0.0
        self._choice = np.zeros(best.shape, dtype=np.int32)
        allowed = values.max(axis=0) > -np.inf
        whole = n_subsets - 1
        left = range(2, whole, 2) if n_networks > 1 else []  # without the network of the first unit
        for subset in [*left, whole]:
            most = n_networks if subset == whole else n_networks - 1
            first = subset & -subset
            parts = submasks(subset ^ first) | first
            parts = parts[allowed[parts]]
            if len(parts):
                totals = values[:, parts] + best[:most, :, subset ^ parts]  # number replicate part
                chosen = totals.argmax(axis=-1)[..., None]
                best[1 : most + 1, :, subset] = np.take_along_axis(totals, chosen, axis=-1)[..., 0]
                self._choice[1 : most + 1, :, subset] = parts[chosen[..., 0]]
        self.scores = best[:, :, -1]

    def served(self, number: int, replicate: int = 0) -> list[list[int]]:
        """The units that each network serves."""
        subset, served = (1 << self._n_units) - 1, list[list[int]]()
        while subset:
            part = int(self._choice[number, replicate, subset])
            served.append([unit for unit in range(self._n_units) if part >> unit & 1])
            subset, number = subset ^ part, number - 1
        return served
