"""Dynamic programming: the exact best partition, for every number of networks at once."""

import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from affinity.errors import InputError

from .grouping import Grouping
from .request import NothingFoundError, Request
from .serving import grouping_of, serving_values, submasks


@dataclass(frozen=True)
class DynamicProgramming:
    r"""Exact for up to `largest` units, whatever the scores are.

    .. math::
        E_k(S) = \max_{\ell(S) \in R \subseteq S} v(R) + E_{k-1}(S \setminus R)

    with :math:`v` the serving values and :math:`\ell(S)` the first unit of :math:`S`. It takes
    :math:`O(3^n k)` steps.

    Example:
        >>> DynamicProgramming().largest
        14
    """

    largest: int = 14

    def __call__(self, request: Request) -> Grouping:
        """The best grouping of `request`.

        Raises:
            InputError: If there are more than `largest` units, or costs.
        """
        began = time.perf_counter()
        if len(request.units) > self.largest or request.budget.cost is not None:
            raise InputError(
                f"Expected at most {self.largest} tasks and no cost for dynamic programming, but "
                f"got {len(request.units)} and {request.budget}. Use another solver."
            )
        by_number = best_partitions(serving_values(request), request.n_networks)
        if not by_number or (request.budget.exactly and request.budget.networks not in by_number):
            raise NothingFoundError(f"No partition makes a grouping of {request.budget}.")
        allowed = [request.n_networks] if request.budget.exactly else sorted(by_number)
        score, best = max(
            (
                grouping_of(request, by_number[number][1], "dynamic_programming")
                for number in allowed
            ),
            key=lambda found: found[0],
        )
        return replace(best, bound=score, seconds=time.perf_counter() - began)


def best_partitions(
    values: Float64[np.ndarray, "subset"], n_networks: int
) -> dict[int, tuple[float, list[list[int]]]]:
    """For each number of networks, the best value of a partition and its sets of units.

    Numbers at which no partition is allowed are left out.
    """
    n_units = len(values).bit_length() - 1
    best = np.full((n_networks + 1, len(values)), -np.inf)  # number subset
    best[0, 0] = 0.0
    choice = np.zeros((n_networks + 1, len(values)), dtype=np.int64)
    for subset in range(1, len(values)):
        first = subset & -subset
        parts = submasks(subset ^ first) | first
        parts = parts[values[parts] > -np.inf]
        if not len(parts):
            continue
        totals = values[parts] + best[:-1, subset ^ parts]  # number part
        chosen = totals.argmax(axis=1)
        best[1:, subset] = totals[np.arange(n_networks), chosen]
        choice[1:, subset] = parts[chosen]
    full = len(values) - 1
    return {
        number: (float(best[number, full]), _read(choice, number, full, n_units))
        for number in range(1, n_networks + 1)
        if best[number, full] > -np.inf
    }


def _read(
    choice: Int64[np.ndarray, "number subset"], number: int, subset: int, n_units: int
) -> list[list[int]]:
    served: list[list[int]] = []
    while subset:
        part = int(choice[number, subset])
        served.append([unit for unit in range(n_units) if part >> unit & 1])
        subset, number = subset ^ part, number - 1
    return served
