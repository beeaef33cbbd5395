"""The frontier: the best grouping for every budget."""

import time
from contextlib import suppress
from dataclasses import replace

from affinity.estimates import AffinityMatrix, GroupScores

from .budget import Budget
from .conflict import conflict
from .constraints import Constraints
from .dynamic_programming import DynamicProgramming
from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .objective import GroupingObjective
from .solve import request_of, solve_request, solver_for


def frontier(
    scores: AffinityMatrix | GroupScores,
    *,
    largest: int | None = None,
    overlap: bool = False,
    objective: GroupingObjective | None = None,
    wishes: Constraints | None = None,
    solver: str | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> dict[int, Grouping]:
    """The best grouping for every budget of 1, 2, ... networks.

    Every number of networks is solved on its own, and a budget has the best of all numbers up to
    it, so scores never fall. Budgets that the wishes make too small are left out.

    Args:
        scores: As for `solve`.
        largest: The largest budget; the number of tasks by default.
        overlap: As for `solve`.
        objective: As for `solve`.
        wishes: As for `solve`.
        solver: As for `solve`.
        time_limit: Seconds for all budgets together.
        seed: As for `solve`.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0, 1.0, -1.0], [1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])
        >>> best = frontier(AffinityMatrix(("depth", "edges", "text"), values))
        >>> {budget: grouping.score for budget, grouping in best.items()}
        {1: -1.0, 2: 2.0, 3: 2.0}
    """
    largest = len(scores.tasks) if largest is None else largest
    request = request_of(
        scores,
        largest,
        overlap,
        objective or GroupingObjective(),
        wishes or Constraints(),
        time_limit,
        seed,
    )
    chosen = solver or solver_for(request)
    if chosen == "dynamic_programming":  # which finds all numbers at once
        found = DynamicProgramming().by_number(request)
    else:
        found = _one_by_one(request, largest, chosen)
    if not found:
        raise conflict(request) or NothingFoundError("No budget has a grouping.")
    best: dict[int, Grouping] = {}
    for budget in range(min(found), largest + 1):
        options = [each for each in (best.get(budget - 1), found.get(budget)) if each is not None]
        highest = max(options, key=lambda each: each.score or 0.0)
        best[budget] = replace(highest, bound=max(each.bound or 0.0 for each in options))
    return best


def _one_by_one(request: GroupingProblem, largest: int, solver: str) -> dict[int, Grouping]:
    """The best grouping of exactly each number of networks, where there is one."""
    deadline = time.perf_counter() + request.time_limit
    found: dict[int, Grouping] = {}
    for number in range(1, largest + 1):
        left = (deadline - time.perf_counter()) / (largest + 1 - number)
        budget = Budget(networks=number, exactly=True)
        each = replace(request, budget=budget, time_limit=max(0.1, left))
        with suppress(NothingFoundError):
            found[number] = solve_request(each, solver)
    return found
