"""Frontier: the best grouping for every budget."""

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
from .solve import grouping_problem, solve_problem, solver_for


def frontier(
    scores: AffinityMatrix | GroupScores,
    *,
    largest: int | None = None,
    overlap: bool = False,
    objective: GroupingObjective | None = None,
    constraints: Constraints | None = None,
    solver: str | None = None,
    time_limit: float = 60.0,
    seed: int = 0,
) -> dict[int, Grouping]:
    """The best grouping for every budget of 1, 2, ... networks.

    Every number of networks is solved separately, and a budget gets the best of all numbers up to
    it, so scores never fall. Budgets too small for the constraints are left out. Arguments that are
    not described are those of `solve`.

    Args:
        largest: The largest budget; the number of tasks by default.
        time_limit: Seconds for all budgets together.

    Example:
        >>> import torch
        >>> values = torch.tensor([[0.0, 1.0, -1.0], [1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])
        >>> best = frontier(AffinityMatrix(("depth", "edges", "text"), values))
        >>> {budget: grouping.score for budget, grouping in best.items()}
        {1: -1.0, 2: 2.0, 3: 2.0}
    """
    largest = len(scores.tasks) if largest is None else largest
    problem = grouping_problem(scores, largest, overlap, objective, constraints, time_limit, seed)
    name = solver or solver_for(problem)
    if name == "dynamic_programming":  # which finds all numbers at once
        by_number = DynamicProgramming().by_number(problem)
    else:
        by_number = _one_by_one(problem, largest, name)
    if not by_number:
        raise conflict(problem) or NothingFoundError("No budget has a grouping.")
    best: dict[int, Grouping] = {}
    for budget in range(min(by_number), largest + 1):
        options = [g for g in (best.get(budget - 1), by_number.get(budget)) if g is not None]
        highest = max(options, key=lambda grouping: grouping.score or 0.0)
        best[budget] = replace(highest, bound=max(grouping.bound or 0.0 for grouping in options))
    return best


def _one_by_one(problem: GroupingProblem, largest: int, solver: str) -> dict[int, Grouping]:
    """The best grouping of exactly each number of networks, where there is one."""
    deadline = time.perf_counter() + problem.time_limit
    by_number: dict[int, Grouping] = {}
    for number in range(1, largest + 1):
        left = (deadline - time.perf_counter()) / (largest + 1 - number)
        budget = Budget(networks=number, exactly=True)
        exactly = replace(problem, budget=budget, time_limit=max(0.1, left))
        with suppress(NothingFoundError):
            by_number[number] = solve_problem(exactly, solver)
    return by_number
