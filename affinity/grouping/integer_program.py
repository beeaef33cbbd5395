"""Integer programming: choose candidate networks, and which of them serves each task."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from affinity.errors import InputError

from .column_generation import solve_by_columns
from .grouping import Grouping, Network
from .grouping_problem import GroupingProblem, NothingFoundError
from .highs import Solution, maximize
from .solver_scores import Table

MOST_TABULATED_TASKS = 12


@dataclass(frozen=True)
class IntegerProgram:
    r"""Exact for a matrix of some twenty tasks and for any table of group scores, by HiGHS.

    .. math::
        \max \sum_{c,t} s_{ct} z_{ct} \quad \text{with} \quad \sum_c z_{ct} = 1, \quad
        z_{ct} \le x_c, \quad \sum_c x_c \le K, \quad \sum_c \kappa_c x_c \le B

    with :math:`x_c` whether candidate :math:`c` is trained and :math:`z_{ct}` whether it serves
    :math:`t`; :math:`z_{ct} = x_c` for tasks that may not help. An affinity matrix has too many
    groups for that. If helpers cost nothing, `solve_by_columns` generates only the relevant groups;
    else a matrix of up to `MOST_TABULATED_TASKS` tasks is converted to a table of all groups.
    """

    def __call__(self, problem: GroupingProblem) -> Grouping:
        """The best grouping of `problem`, or the best found by its time limit."""
        has_helper_costs = problem.budget.cost is not None and bool(problem.may_help.any())
        if not isinstance(problem.scores, Table) and not has_helper_costs:
            return solve_by_columns(problem)
        began = time.perf_counter()
        program = _Program(problem, _table_of(problem))
        solution = program.solve(program.scores, problem.time_limit)
        bound = min(solution.bound, program.trivial_bound)
        is_optimal = solution.is_proven
        if solution.values is None and not is_optimal:  # out of time: then any grouping
            solution = program.solve(np.zeros_like(program.scores))
        if solution.values is None:
            raise NothingFoundError(f"No candidate networks make a grouping of {problem.budget}.")
        chosen = solution.values if is_optimal else program.climb(solution.values)
        score, grouping = program.grouping(chosen)
        return replace(
            grouping,
            score=score,
            bound=score if is_optimal else max(score, bound),
            seconds=time.perf_counter() - began,
        )


def has_grouping(problem: GroupingProblem) -> bool:
    """Whether any choice of candidates is within budget and constraints."""
    program = _Program(problem, _table_of(problem))
    return program.solve(np.zeros_like(program.scores)).values is not None


def _table_of(problem: GroupingProblem) -> Table:
    """The candidates of `problem`: its table, or every group of its matrix."""
    if isinstance(problem.scores, Table):
        return problem.scores
    if len(problem.tasks) > MOST_TABULATED_TASKS:
        raise InputError(
            f"The integer program with costs and helpers handles up to {MOST_TABULATED_TASKS} "
            f"tasks, but got {len(problem.tasks)}. Use the solver 'local_search'.",
            "too-large-for-solver",
        )
    return Table.of_pairs(problem.scores, problem.budget, problem.largest)


class _Program:
    """The variables are `x` of every allowed candidate, then `z` of every unit it can serve."""

    def __init__(self, problem: GroupingProblem, table: Table) -> None:
        self._request, self._table = problem, table
        units = [list(unit) for unit in problem.units]
        scores = np.stack([table.scores[:, unit].sum(axis=1) for unit in units], axis=1)
        can_serve = np.isfinite(scores)  # candidate unit
        needs = table.trained & ~problem.may_help
        must_serve = np.stack([needs[:, unit].any(axis=1) for unit in units], axis=1)
        conflicts = (table.trained @ problem.apart.astype(float)) * table.trained
        self._candidates = np.flatnonzero(
            (can_serve | ~must_serve).all(axis=1)
            & can_serve.any(axis=1)
            & (table.trained.sum(axis=1) <= problem.largest)
            & (conflicts.sum(axis=1) == 0)
        )
        scores, can_serve = scores[self._candidates], can_serve[self._candidates]
        can_serve &= ~np.diag(problem.units_apart)
        self._x, self._unit = np.nonzero(can_serve)  # of every z
        self._must_serve = must_serve[self._candidates]
        self._must = self._must_serve[self._x, self._unit]
        self._matrix = np.where(can_serve, scores, np.nan)  # candidate unit
        self._sizes = table.trained[self._candidates].sum(axis=1)
        self.scores = scores[self._x, self._unit]
        best = np.where(can_serve, scores, -np.inf).max(axis=0, initial=-np.inf)
        self.trivial_bound = float(best.sum())

    def solve(self, scores: np.ndarray, seconds: float = float("inf")) -> Solution:
        """Maximize these scores of the `z`."""
        if not len(self._candidates):
            return Solution(None, -np.inf, is_proven=True)
        every = np.concatenate([np.zeros(len(self._candidates)), scores])
        return maximize(every, self._constraints(), seconds)

    def climb(self, solution: np.ndarray) -> np.ndarray:
        """Exchange or add networks while the score improves, if all tasks may help everywhere."""
        budget, n_x = self._request.budget, len(self._candidates)
        if self._must_serve.any() or self._request.units_apart.any() or budget.exactly:
            return solution
        scores = np.where(np.isnan(self._matrix), -np.inf, self._matrix)
        costs = self._table.costs[self._candidates]
        chosen = np.unique(self._x[solution[n_x:] > 0.5]).tolist()
        best, is_better = scores[chosen].max(axis=0).sum(), True
        while is_better:
            is_better = False
            for slot in range(min(len(chosen) + 1, self._request.n_networks)):
                rest = chosen[:slot] + chosen[slot + 1 :]
                served = scores[rest].max(axis=0, initial=-np.inf)
                totals = np.maximum(scores, served).sum(axis=1)
                if budget.cost is not None:
                    totals[costs[rest].sum() + costs > budget.cost * (1 + 1e-9)] = -np.inf
                candidate = int(totals.argmax())
                if totals[candidate] > best + 1e-12 * np.abs(self.scores).max():
                    best, is_better = totals[candidate], True
                    chosen = [*rest[:slot], candidate, *rest[slot:]]
        serving = np.array(chosen)[scores[chosen].argmax(axis=0)]  # unit
        return np.concatenate([np.zeros(n_x), serving[self._unit] == self._x])

    def grouping(self, solution: np.ndarray) -> tuple[float, Grouping]:
        """The score and the networks of a solution."""
        problem, table = self._request, self._table
        chosen = np.flatnonzero(solution[len(self._candidates) :] > 0.5)  # z
        networks: list[Network] = []
        score = cost = 0.0
        for x in np.unique(self._x[chosen]).tolist():
            units = self._unit[chosen[self._x[chosen] == x]]
            lean = self._leanest(x, units)
            candidate = int(self._candidates[lean])
            trained = np.flatnonzero(table.trained[candidate]).tolist()
            served = [task for unit in units.tolist() for task in problem.units[unit]]
            score += float(self._matrix[lean, units].sum())
            cost += float(table.costs[candidate])
            networks.append(
                Network(
                    trained=frozenset(problem.tasks[task] for task in trained),
                    served=frozenset(problem.tasks[task] for task in served),
                    variant=table.variants[candidate],
                )
            )
        networks.sort(key=lambda network: sorted(network.served))
        return score, Grouping(tuple(networks), solver="integer_program", cost=cost)

    def _leanest(self, x: int, units: np.ndarray) -> int:
        """The candidate with fewest tasks among those with the same score and cost."""
        costs, sizes = self._table.costs[self._candidates], self._sizes
        other = np.ones(self._matrix.shape[1], dtype=bool)
        other[units] = False
        scores = self._matrix[:, units].sum(axis=1)  # NaN where one cannot be served
        as_good = scores >= scores[x] - 1e-12 * np.abs(self.scores).max()
        fits = as_good & (costs <= costs[x]) & ~(self._must_serve[:, other]).any(axis=1)
        return int(np.where(fits, sizes, np.inf).argmin()) if sizes[x] > len(units) else x

    def _constraints(self) -> list[Any]:
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array, eye_array, hstack

        problem, budget = self._request, self._request.budget
        n_x, n_z, every = len(self._candidates), len(self._x), np.arange(len(self._x))
        ones = np.ones(n_z)
        of_unit = csr_array((ones, (self._unit, every)), shape=(len(problem.units), n_z))
        of_candidate = csr_array((ones, (self._x, every)), shape=(n_x, n_z))
        no_x, no_z = csr_array((len(problem.units), n_x)), csr_array((1, n_z))
        served_once = LinearConstraint(hstack([no_x, of_unit]), 1, 1)
        only_if_trained = LinearConstraint(
            hstack([-of_candidate.T, eye_array(n_z)]), np.where(self._must, 0, -1), 0
        )
        constraints = [served_once, only_if_trained]
        if budget.networks is not None:
            least = budget.networks if budget.exactly else 0
            count = hstack([csr_array(np.ones((1, n_x))), no_z])
            constraints.append(LinearConstraint(count, least, budget.networks))
        if budget.exactly:
            none_idle = hstack([eye_array(n_x), -of_candidate])
            constraints.append(LinearConstraint(none_idle, -np.inf, 0))
        if budget.cost is not None:
            cost = hstack([csr_array(self._table.costs[None, self._candidates]), no_z])
            constraints.append(LinearConstraint(cost, -np.inf, budget.cost * (1 + 1e-9)))
        for one, other in np.argwhere(np.triu(problem.units_apart, 1)):
            both = of_candidate[:, self._unit == one].sum(axis=1) * of_candidate[
                :, self._unit == other
            ].sum(axis=1)
            rows = np.flatnonzero(both)
            if len(rows):
                pair = np.isin(self._unit, (one, other)).astype(float)
                served = of_candidate[rows].multiply(pair[None, :])
                trained = csr_array(
                    (-np.ones(len(rows)), (np.arange(len(rows)), rows)), shape=(len(rows), n_x)
                )
                constraints.append(LinearConstraint(hstack([trained, served]), -np.inf, 0))
        return constraints
