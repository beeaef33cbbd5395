"""Solve: the best grouping of a matrix within a budget, and how good it is at least."""

import time
from collections.abc import Callable
from dataclasses import replace

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, GroupScores

from .agglomerative import Agglomerative
from .budget import Budget
from .column_generation import ColumnGeneration
from .communities import Communities
from .conflict import conflict
from .constraints import Constraints
from .dynamic_programming import DynamicProgramming
from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .integer_program import IntegerProgram
from .local_search import LocalSearch
from .objective import GroupingObjective
from .relaxation import upper_bound
from .serving import helpers_conflict
from .spectral import Spectral
from .table import Table

SOLVERS: dict[str, Callable[[GroupingProblem], Grouping]] = {
    "dynamic_programming": DynamicProgramming(),
    "column_generation": ColumnGeneration(),
    "integer_program": IntegerProgram(),
    "local_search": LocalSearch(),
    "agglomerative": Agglomerative(),
    "spectral": Spectral(),
    "communities": Communities(),
}

_BY_DYNAMIC_PROGRAMMING = 12  # units; column generation is faster above
_BY_COLUMNS = 20
_EXACT = {"dynamic_programming", "column_generation", "integer_program"}
_TO_SEARCH = 0.7  # of the time; the rest is for the bound


def solve(
    scores: AffinityMatrix | GroupScores,
    budget: int | Budget,
    *,
    overlap: bool = False,
    objective: GroupingObjective | None = None,
    wishes: Constraints | None = None,
    solver: str | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> Grouping:
    """The grouping of highest score that was found, with a bound that none exceeds.

    Args:
        scores: An affinity matrix, whose rows are sources, or scores of whole groups.
        budget: At most so many networks, between 1 and the number of tasks, or a `Budget`.
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
    request = request_of(
        scores,
        budget,
        overlap,
        objective or GroupingObjective(),
        wishes or Constraints(),
        time_limit,
        seed,
    )
    return solve_request(request, solver)


def solve_request(request: GroupingProblem, solver: str | None = None) -> Grouping:
    """The best grouping of a request that was found, with its bound and time."""
    began, time_limit = time.perf_counter(), request.time_limit
    chosen = solver or solver_for(request)
    if chosen not in SOLVERS:
        raise InputError(f"Expected one of the solvers {sorted(SOLVERS)}, but got {chosen!r}.")
    try:
        share = 1.0 if chosen in _EXACT else _TO_SEARCH
        grouping = SOLVERS[chosen](replace(request, time_limit=share * time_limit))
    except NothingFoundError as error:
        raise (conflict(request) or error) from None
    if not grouping.is_optimal and not isinstance(request.scores, Table):
        left = max(0.05, time_limit - (time.perf_counter() - began))
        bounds = [upper_bound(request, left, grouping.score), grouping.bound]
        grouping = replace(grouping, bound=min(b for b in bounds if b is not None))
    return replace(grouping, seconds=time.perf_counter() - began)


def request_of(
    scores: AffinityMatrix | GroupScores,
    budget: int | Budget,
    overlap: bool,
    objective: GroupingObjective,
    wishes: Constraints,
    time_limit: float,
    seed: int,
) -> GroupingProblem:
    """What the solvers are asked, checked."""
    if not isinstance(scores, AffinityMatrix | GroupScores):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"Expected an AffinityMatrix or GroupScores, but got a {type(scores).__name__}. Both "
            "have a from_frame for tables."
        )
    if not time_limit >= 0:
        raise InputError(f"Expected a time limit of at least 0 seconds, but got {time_limit}.")
    if seed < 0:
        raise InputError(f"Expected a seed of at least 0, but got {seed}.")
    budget = budget if isinstance(budget, Budget) else Budget(networks=budget)
    budget.check(scores.tasks)
    wishes.check(scores.tasks)
    return GroupingProblem(
        scores=(
            objective.table(scores) if isinstance(scores, GroupScores) else objective.pairs(scores)
        ),
        budget=budget,
        wishes=wishes,
        overlap=overlap,
        time_limit=time_limit,
        seed=seed,
    )


def solver_for(request: GroupingProblem) -> str:
    """An exact solver where one is feasible, else local search."""
    if isinstance(request.scores, Table):
        return "integer_program"
    n_units, has_helpers = len(request.units), bool(request.may_help.any())
    if request.budget.cost is not None and has_helpers:
        is_small = len(request.tasks) <= IntegerProgram().largest
        return "integer_program" if is_small else "local_search"
    if n_units <= _BY_DYNAMIC_PROGRAMMING and request.budget.cost is None:
        return "dynamic_programming"
    if n_units <= (_BY_DYNAMIC_PROGRAMMING if helpers_conflict(request) else _BY_COLUMNS):
        return "column_generation"
    return "local_search"
