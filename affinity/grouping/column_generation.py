"""Column generation: exact partitions of about twenty units by a linear program over groups."""

import time
from dataclasses import replace
from typing import Any, cast

import numpy as np
from jaxtyping import Float64, Int64

from affinity.errors import InputError

from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .highs import maximize
from .local_search import LocalSearch
from .serving import grouping_of, over_subsets, serving_values

_COLUMNS = 200  # added at a time
_MOST_KEPT = 20_000  # for the integer program
_NAME = "integer_program"
MOST_UNITS = 22  # the values take 8 MB for 20 units, and twice as much for each further one


def solve_by_columns(problem: GroupingProblem) -> Grouping:
    r"""The best partition into networks without costs for helpers, or the best by the time limit.

    .. math::
        \max \sum_S v(S) \lambda_S \quad \text{with} \quad \sum_{S \ni u} \lambda_S = 1, \quad
        \sum_S \lambda_S \le K

    over all :math:`2^n` sets of units, of which only some enter the program. With the prices
    :math:`\pi` of the units and :math:`\mu` of a network, the sets worth adding are those of
    positive :math:`v(S) - \sum_{u \in S} \pi_u - \mu`, which is computed for every set at once.
    When no such set is left, the program's value is an upper bound. A best grouping contains only
    sets whose reduced value is above minus the gap; an integer program over these sets finds it.

    References:
        Barnhart et al. (1998), `Branch-and-Price: Column Generation for Solving Huge Integer
        Programs <https://doi.org/10.1287/opre.46.3.316>`_.
    """
    began = time.perf_counter()
    if len(problem.units) > MOST_UNITS:
        raise InputError(
            f"The integer program handles up to {MOST_UNITS} tasks, but got {len(problem.units)}. "
            "Use the solver 'local_search'.",
            "too-large-for-solver",
        )
    deadline = began + problem.time_limit
    values = serving_values(problem)
    scale = float(np.abs(values[values > -np.inf]).max(initial=0.0)) or 1.0
    program = _RestrictedProgram(problem, values / scale)
    masks = program.relax(deadline)
    groupings = _by_local_search(problem)
    rounded, *_ = program.choose(masks, 0.1 * problem.time_limit)
    if rounded is not None:
        groupings.append(grouping_of(problem, rounded, _NAME))
    score = max((score for score, _ in groupings), default=-np.inf)
    kept = program.within(score / scale)
    is_all = len(kept) <= _MOST_KEPT
    left = deadline - time.perf_counter()
    served, is_proven, bound = None, False, np.inf
    if left > 0:
        served, is_proven, bound = program.choose(kept[:_MOST_KEPT], left)
    if served is not None:
        groupings.append(grouping_of(problem, served, _NAME))
    if not groupings:
        raise NothingFoundError(f"No groups make a grouping of {problem.budget}.")
    score, best = max(groupings, key=lambda scored: scored[0])
    bound = scale * (min(program.bound, bound) if is_all else program.bound)
    return replace(
        best,
        bound=score if is_proven and is_all else max(score, bound),
        solver=_NAME,
        seconds=time.perf_counter() - began,
    )


def _by_local_search(problem: GroupingProblem) -> list[tuple[float, Grouping]]:
    """A good grouping; its score limits which groups can be part of the best one."""
    limit = min(5.0, 0.2 * problem.time_limit)
    try:
        grouping = LocalSearch()(replace(problem, time_limit=limit))
    except NothingFoundError:
        return []
    return [(-np.inf if grouping.score is None else grouping.score, grouping)]


class _RestrictedProgram:
    """The linear program over some of the groups, and the bound that it gives for all of them.

    `bound` is an upper bound on the value of every partition.
    """

    def __init__(self, problem: GroupingProblem, values: Float64[np.ndarray, "subset"]) -> None:
        self._values = values
        self._n_units, budget = len(problem.units), problem.budget
        self._most = problem.n_networks
        self.bound, self._value, self._short = np.inf, np.inf, 0.0
        self._reduced = values
        self._exactly = budget.exactly
        self._budget, self._costs = budget.cost, np.zeros(0)
        if self._budget is not None:
            self._costs = np.full(len(values), np.inf)
            for mask in np.flatnonzero(values > -np.inf).tolist():
                units = [unit for unit in range(self._n_units) if mask >> unit & 1]
                tasks = [problem.tasks[task] for unit in units for task in problem.units[unit]]
                self._costs[mask] = budget.of(frozenset(tasks))

    def relax(self, deadline: float) -> Int64[np.ndarray, "group"]:
        """Solve the program over all groups; return the groups that entered it."""
        masks = np.array([1 << unit for unit in range(self._n_units)], dtype=np.int64)
        masks = masks[self._values[masks] > -np.inf]
        while True:
            value, reduced = self._price(masks)
            short = max(0.0, float(reduced.max()))
            if value + self._most * short < self.bound:
                self.bound = value + self._most * short
                self._reduced, self._value, self._short = reduced, value, short
            if short <= 1e-9 or time.perf_counter() > deadline:
                return masks
            best = np.argpartition(-reduced, min(_COLUMNS, len(reduced) - 1))[:_COLUMNS]
            masks = np.union1d(masks, best[reduced[best] > 1e-9])

    def within(self, known: float) -> Int64[np.ndarray, "group"]:
        """The groups that a partition better than `known` may contain, the most likely first."""
        least = known - self._value - (self._most - 1) * self._short - 1e-7
        kept = np.flatnonzero((self._reduced >= least) & (self._values > -np.inf))
        return kept[np.argsort(-self._reduced[kept], kind="stable")]

    def choose(
        self, masks: Int64[np.ndarray, "group"], seconds: float
    ) -> tuple[list[list[int]] | None, bool, float]:
        """The best partition into these groups, whether it is proven best, and an upper bound."""
        from scipy.optimize import LinearConstraint

        if not len(masks):
            return None, True, -np.inf
        rows = [LinearConstraint(self._members(masks), 1, 1)]
        limits, most = self._limits(masks)
        least = np.full(len(most), -np.inf)
        least[0] = self._most if self._exactly else 0
        rows.append(LinearConstraint(limits, least, most))
        solution = maximize(self._values[masks], rows, seconds)
        if solution.values is None:
            return None, solution.is_proven, solution.bound
        chosen = masks[solution.values > 0.5].tolist()
        units = range(self._n_units)
        return (
            [[unit for unit in units if mask >> unit & 1] for mask in chosen],
            solution.is_proven,
            solution.bound,
        )

    def _price(
        self, masks: Int64[np.ndarray, "group"]
    ) -> tuple[float, Float64[np.ndarray, "subset"]]:
        """The program's value with these groups, and the reduced value of every group."""
        from scipy.optimize import linprog

        below, most = self._limits(masks)
        equal, equal_to = self._members(masks), np.ones(self._n_units)
        if self._exactly:
            equal, below = np.vstack([equal, below[:1]]), below[1:]
            equal_to, most = np.append(equal_to, most[0]), most[1:]
        missing = np.eye(len(equal))  # slack with a large penalty, to be 0 if possible
        result = linprog(
            np.concatenate([-self._values[masks], np.full(len(equal), 10.0 * self._n_units)]),
            A_eq=np.hstack([equal, missing]),
            b_eq=equal_to,
            A_ub=np.hstack([below, np.zeros((len(below), len(equal)))]),
            b_ub=most,
            method="highs",
        )
        units = -result.eqlin.marginals[: self._n_units]
        others = -np.concatenate(
            [result.eqlin.marginals[self._n_units :], result.ineqlin.marginals]
        )
        reduced = self._values - over_subsets(units) - others[0]
        if self._budget is not None:
            reduced = reduced - others[1] * np.where(np.isinf(self._costs), 0.0, self._costs)
        return -float(cast(Any, result.fun)), reduced

    def _members(self, masks: Int64[np.ndarray, "group"]) -> Float64[np.ndarray, "unit group"]:
        return (masks >> np.arange(self._n_units)[:, None] & 1).astype(np.float64)

    def _limits(
        self, masks: Int64[np.ndarray, "group"]
    ) -> tuple[Float64[np.ndarray, "limit group"], Float64[np.ndarray, "limit"]]:
        """The number of networks, and their cost if it is limited."""
        if self._budget is None:
            return np.ones((1, len(masks))), np.array([float(self._most)])
        rows = np.stack([np.ones(len(masks)), self._costs[masks]])
        return rows, np.array([float(self._most), self._budget * (1 + 1e-9)])
