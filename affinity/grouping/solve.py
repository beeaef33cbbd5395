"""Solve: the best grouping of a matrix within a budget, with a bound on the best possible score."""

import time
from collections.abc import Callable
from dataclasses import replace

from affinity.errors import InputError, check_choice, check_number
from affinity.estimates import AffinityMatrix, GroupScores

from .budget import Budget
from .conflict import conflict
from .constraints import Constraints
from .dynamic_programming import DynamicProgramming
from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .integer_program import MOST_TABULATED_TASKS, IntegerProgram
from .local_search import LocalSearch
from .objective import GroupingObjective
from .relaxation import upper_bound
from .serving import helpers_conflict
from .solver_scores import Table

SOLVERS: dict[str, Callable[[GroupingProblem], Grouping]] = {
    "dynamic_programming": DynamicProgramming(),
    "integer_program": IntegerProgram(),
    "local_search": LocalSearch(),
}
"""Two exact solvers and one approximate. Dynamic programming is up to 20 times faster than the
integer program for few tasks, and solves many samples at once (`reports/bench/grouping`)."""

_MOST_BY_DYNAMIC_PROGRAMMING = 12  # units; the integer program is faster above
_MOST_EXACT = 20
_SEARCH_SHARE = 0.7  # of the time limit; the rest is for the bound


def solve(
    scores: AffinityMatrix | GroupScores,
    budget: int | Budget,
    *,
    overlap: bool = False,
    objective: GroupingObjective | None = None,
    constraints: Constraints | None = None,
    solver: str | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> Grouping:
    """The grouping of highest score that was found, with an upper bound on every score.

    Args:
        scores: An affinity matrix, whose rows are sources, or scores of whole groups.
        budget: The maximum number of networks, between 1 and the number of tasks, or a `Budget`.
        overlap: Whether a task may be trained in several networks; one of them serves it.
        objective: The score of a grouping; by default the mean affinity from the partners.
        constraints: Which tasks must, must not or may share networks.
        solver: One of `SOLVERS`; by default an exact one where it is feasible.
        time_limit: Seconds after which the best grouping found is returned with its gap.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0, 1.0, -1.0], [1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])
        >>> grouping = solve(AffinityMatrix(("depth", "edges", "text"), values), budget=2)
        >>> [sorted(network.served) for network in grouping.networks]
        [['depth', 'edges'], ['text']]
        >>> grouping.score, grouping.is_optimal
        (2.0, True)
    """
    problem = grouping_problem(scores, budget, overlap, objective, constraints, time_limit, seed)
    return solve_problem(problem, solver)


def solve_problem(problem: GroupingProblem, solver: str | None = None) -> Grouping:
    """The best grouping of a problem that was found, with its bound and time."""
    began, time_limit = time.perf_counter(), problem.time_limit
    name = solver or solver_for(problem)
    check_choice("the solver", name, SOLVERS, "unknown-solver")
    share = _SEARCH_SHARE if name == "local_search" else 1.0
    try:
        grouping = SOLVERS[name](replace(problem, time_limit=share * time_limit))
    except NothingFoundError as error:
        raise (conflict(problem) or error) from None
    if not grouping.is_optimal and not isinstance(problem.scores, Table):
        left = max(0.05, time_limit - (time.perf_counter() - began))
        bound = upper_bound(problem, left, grouping.score)
        if grouping.bound is not None:
            bound = min(bound, grouping.bound)
        grouping = replace(grouping, bound=bound)
    return replace(grouping, seconds=time.perf_counter() - began)


def grouping_problem(
    scores: AffinityMatrix | GroupScores,
    budget: int | Budget,
    overlap: bool,
    objective: GroupingObjective | None,
    constraints: Constraints | None,
    time_limit: float,
    seed: int,
) -> GroupingProblem:
    """The checked arguments of `solve`."""
    objective, constraints = objective or GroupingObjective(), constraints or Constraints()
    if not isinstance(scores, AffinityMatrix | GroupScores):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"Expected an AffinityMatrix or GroupScores, but got a {type(scores).__name__}. Both "
            "have a from_frame for tables.",
            "wrong-type",
        )
    check_number("time_limit", time_limit, "invalid-time-limit", least=0)
    check_number("seed", seed, "invalid-seed", least=0)
    budget = budget if isinstance(budget, Budget) else Budget(networks=budget)
    budget.check(scores.tasks)
    constraints.check(scores.tasks)
    is_table = isinstance(scores, GroupScores)
    return GroupingProblem(
        scores=objective.table(scores) if is_table else objective.pairs(scores),
        budget=budget,
        constraints=constraints,
        overlap=overlap,
        time_limit=time_limit,
        seed=seed,
    )


def solver_for(problem: GroupingProblem) -> str:
    """An exact solver where one is feasible, else local search."""
    n_units, has_costs = len(problem.units), problem.budget.cost is not None
    if isinstance(problem.scores, Table):
        return "integer_program"
    if n_units <= _MOST_BY_DYNAMIC_PROGRAMMING and not has_costs:
        return "dynamic_programming"
    if has_costs and problem.may_help.any():
        is_exact = len(problem.tasks) <= MOST_TABULATED_TASKS
    elif helpers_conflict(problem):
        is_exact = n_units <= _MOST_BY_DYNAMIC_PROGRAMMING
    else:
        is_exact = n_units <= _MOST_EXACT
    return "integer_program" if is_exact else "local_search"
