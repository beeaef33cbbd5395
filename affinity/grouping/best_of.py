"""The best of several partitions, mended where they break a wish."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from .assignment import any_partition
from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .partition import Partition
from .serving import grouping_of


def best_of(
    request: GroupingProblem, candidates: Iterable[Int64[np.ndarray, "unit"]], solver: str
) -> Grouping:
    """The best grouping that one of the `candidates` leads to.

    A candidate with more networks than the budget is left out; one that breaks a wish is mended by
    moves and swaps. Stops at the time limit, once something is found.

    Raises:
        NothingFoundError: If none can be mended.
    """
    began = time.perf_counter()
    found: list[tuple[float, Grouping]] = []

    def is_over() -> bool:
        return bool(found) and time.perf_counter() - began > request.time_limit

    for labels in candidates:
        if is_over():
            break
        if labels.max() < request.n_networks:
            found = _better(request, labels, solver, found, is_over)
    if not found and (labels := any_partition(request)) is not None:
        found = _better(request, labels, solver, found, is_over)
    if not found:
        raise NothingFoundError(
            f"Expected {solver} to find a grouping of {request.budget} that respects "
            f"{request.wishes}, but it found none. Try another solver, or wish for less."
        )
    return replace(found[0][1], seconds=time.perf_counter() - began)


def _better(
    request: GroupingProblem,
    labels: Int64[np.ndarray, "unit"],
    solver: str,
    found: list[tuple[float, Grouping]],
    is_over: Callable[[], bool],
) -> list[tuple[float, Grouping]]:
    """What `labels` leads to if it is better than what was found, else that."""
    partition = Partition(request, labels, request.n_networks)
    if not partition.is_allowed:
        partition.climb(is_over)
    if not partition.is_allowed:
        return found
    is_simple = request.budget.cost is None and not request.may_help.any()
    if found and is_simple and partition.score <= found[0][0]:
        return found
    score, grouping = grouping_of(request, partition.served, solver)
    if (found and score <= found[0][0]) or not request.within_cost(grouping):
        return found
    return [(score, grouping)]
