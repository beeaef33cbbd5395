"""Solve: the best grouping of a matrix within a budget, and how good it is at least."""

import time
from collections.abc import Callable
from dataclasses import replace

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix

from .agglomerative import Agglomerative
from .budget import Budget
from .dynamic_programming import DynamicProgramming
from .grouping import Grouping
from .local_search import LocalSearch
from .objective import Objective
from .relaxation import upper_bound
from .request import Request
from .wishes import Wishes

SOLVERS: dict[str, Callable[[Request], Grouping]] = {
    "dynamic_programming": DynamicProgramming(),
    "local_search": LocalSearch(),
    "agglomerative": Agglomerative(),
}


def solve(
    matrix: AffinityMatrix,
    budget: int | Budget,
    *,
    overlap: bool = False,
    objective: Objective | None = None,
    wishes: Wishes | None = None,
    solver: str | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> Grouping:
    """The grouping of highest score that was found, with a bound that none exceeds.

    Args:
        matrix: Rows are sources.
        budget: At most so many networks, or a `Budget`.
        overlap: Whether a task may be trained in several networks; it is served by one.
        objective: What is summed; the mean affinity from the partners by default.
        wishes: What else must hold.
        solver: One of `SOLVERS`; by default an exact one where it is feasible.
        time_limit: Seconds; the best found by then is returned with its gap.
        seed: Of the solvers that draw.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0, 1.0, -1.0], [1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])
        >>> grouping = solve(AffinityMatrix(("depth", "edges", "text"), values), budget=2)
        >>> [sorted(network.served) for network in grouping.networks]
        [['depth', 'edges'], ['text']]
        >>> grouping.score, grouping.is_optimal
        (2.0, True)
    """
    began = time.perf_counter()
    wishes = wishes or Wishes()
    wishes.check(matrix.tasks)
    request = Request(
        scores=(objective or Objective()).pairs(matrix),
        budget=budget if isinstance(budget, Budget) else Budget(networks=budget),
        wishes=wishes,
        overlap=overlap,
        time_limit=time_limit,
        seed=seed,
    )
    chosen = solver or _solver_for(request)
    if chosen not in SOLVERS:
        raise InputError(f"Expected one of the solvers {sorted(SOLVERS)}, but got {chosen!r}.")
    grouping = SOLVERS[chosen](request)
    if grouping.bound is None:
        left = max(0.2, min(10.0, time_limit - (time.perf_counter() - began)))
        grouping = replace(grouping, bound=upper_bound(request, left, grouping.score))
    return replace(grouping, seconds=time.perf_counter() - began)


def _solver_for(request: Request) -> str:
    if len(request.units) <= DynamicProgramming().largest and request.budget.cost is None:
        return "dynamic_programming"
    return "local_search"
