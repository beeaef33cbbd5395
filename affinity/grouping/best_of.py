"""The best of several partitions, mended where they break a wish."""

import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from affinity.errors import InputError

from .grouping import Grouping
from .partition import Partition
from .request import Request
from .serving import grouping_of


def best_of(
    request: Request, candidates: Iterable[Int64[np.ndarray, "unit"]], solver: str
) -> Grouping:
    """The best grouping that one of the `candidates` leads to.

    A candidate with more networks than the budget is left out; one that breaks a wish is mended by
    moves and swaps. Stops at the time limit, once something is found.

    Raises:
        InputError: If none can be mended.
    """
    began = time.perf_counter()
    n_networks = request.n_networks
    best: Grouping | None = None
    best_score = -np.inf

    def is_over() -> bool:
        return best is not None and time.perf_counter() - began > request.time_limit

    for labels in candidates:
        if is_over():
            break
        if labels.max() >= n_networks:
            continue
        partition = Partition(request, labels, n_networks)
        if not partition.is_allowed:
            partition.climb(is_over)
        if not partition.is_allowed:
            continue
        has_helpers = request.may_help.any() or request.budget.cost is not None
        if not has_helpers and partition.score <= best_score:
            continue
        score, grouping = grouping_of(request, partition.served, solver)
        if score > best_score and request.within_cost(grouping):
            best_score, best = score, grouping
    if best is None:
        raise InputError(
            f"Expected {solver} to find a grouping of {request.budget} that respects "
            f"{request.wishes}, but it found none. Try another solver, or wish for less."
        )
    return replace(best, seconds=time.perf_counter() - began)
