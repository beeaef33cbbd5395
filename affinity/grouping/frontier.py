"""The frontier: the best grouping for every budget."""

import time
from dataclasses import replace

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, GroupScores

from .budget import Budget
from .grouping import Grouping
from .objective import Objective
from .solve import solve
from .wishes import Wishes


def frontier(
    scores: AffinityMatrix | GroupScores,
    *,
    largest: int | None = None,
    overlap: bool = False,
    objective: Objective | None = None,
    wishes: Wishes | None = None,
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
    began = time.perf_counter()
    largest = len(scores.tasks) if largest is None else largest
    Budget(networks=largest).check(scores.tasks)
    best: dict[int, Grouping] = {}
    failure: InputError | None = None
    for budget in range(1, largest + 1):
        left = began + time_limit - time.perf_counter()
        try:
            found = solve(
                scores,
                Budget(networks=budget, exactly=True),
                overlap=overlap,
                objective=objective,
                wishes=wishes,
                solver=solver,
                time_limit=max(0.1, left / (largest + 1 - budget)),
                seed=seed,
            )
        except InputError as error:
            failure = error
            if budget - 1 in best:
                best[budget] = best[budget - 1]
            continue
        best[budget] = _better(best.get(budget - 1), found)
    if not best and failure is not None:
        raise failure
    return best


def _better(smaller: Grouping | None, found: Grouping) -> Grouping:
    """The better of two groupings, with a bound on both budgets."""
    if smaller is None:
        return found
    by_score = sorted([smaller, found], key=lambda each: each.score or 0.0)
    return replace(by_score[-1], bound=max(smaller.bound or 0.0, found.bound or 0.0))
