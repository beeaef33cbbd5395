"""Serving: the best network for the units it serves, and its score for every set of units."""

import numpy as np
from jaxtyping import Float64

from affinity.errors import InputError

from .grouping import Grouping, Network
from .grouping_problem import GroupingProblem
from .solver_scores import Pairs

_CHUNK = 1 << 15
_MOST_CONFLICTING = 13  # helpers of which all sets are tried, if some must stay apart


def serving_values(problem: GroupingProblem) -> Float64[np.ndarray, "subset"]:
    """For every subset of the units, as a bit mask, the best score of a network serving it.

    Minus infinity where the constraints forbid it. Without helpers it is the score of the set. A
    helper adds its affinities onto all served tasks, so the best helpers of any number are those
    with the highest sums: sorting finds them for all subsets at once, and overlapping groupings
    take little more time than disjoint ones.
    """
    if helpers_conflict(problem) and int(problem.may_help.sum()) > _MOST_CONFLICTING:
        raise InputError(
            f"An exact solver handles up to {_MOST_CONFLICTING} helpers of which some must stay "
            f"apart, but got {int(problem.may_help.sum())}. Use the solver 'local_search', or "
            "networks that do not overlap.",
            "too-large-for-solver",
        )
    values = _with_sorted_helpers(problem)
    values[_forbidden(problem)] = -np.inf
    values[0] = -np.inf
    if helpers_conflict(problem):
        for mask in np.flatnonzero(values > -np.inf).tolist():
            units = [unit for unit in range(len(problem.units)) if mask >> unit & 1]
            values[mask] = best_network(problem, units)[0]
    return values


def helpers_conflict(problem: GroupingProblem) -> bool:
    """Whether some helpers must stay apart, so that sorting is not exact."""
    return bool(problem.apart[problem.may_help].any())


def best_network(problem: GroupingProblem, units: list[int]) -> tuple[float, list[int]]:
    """The best score of a network that serves these units, and the tasks it trains for that.

    Exact, unless more than 13 helpers are available and some of them must stay apart: then helpers
    are chosen greedily.
    """
    pairs = problem.pairs
    served = [task for unit in sorted(units) for task in problem.units[unit]]
    gives = pairs.onto[:, served].sum(axis=1)
    free = problem.may_help & ~problem.apart[:, served].any(axis=1)
    free[served] = False
    helpers = np.flatnonzero(free)
    helpers = helpers[np.argsort(-gives[helpers], kind="stable")]
    conflicts = problem.apart[np.ix_(helpers, helpers)]
    if conflicts.any() and len(helpers) <= _MOST_CONFLICTING:
        masks = np.arange(1 << len(helpers))
        chosen = (masks[:, None] >> np.arange(len(helpers)) & 1).astype(float)  # set helper
        fits = ((chosen @ conflicts) * chosen).sum(axis=1) == 0
        candidates = [helpers[row > 0] for row in chosen[fits]]
    else:
        taken: list[int] = []
        for helper in helpers.tolist():
            if not problem.apart[helper, taken].any():
                taken.append(helper)
        candidates = [np.array(taken[:number], dtype=np.int64) for number in range(len(taken) + 1)]
    best, trained = -np.inf, served
    for candidate in candidates:
        together = [*served, *candidate.tolist()]
        if len(together) > problem.largest:
            continue
        score = pairs.score(together, served)
        if score > best:
            best, trained = score, together
    return best, trained


def grouping_of(
    problem: GroupingProblem, served: list[list[int]], solver: str
) -> tuple[float, Grouping]:
    """The score and the grouping whose networks serve these units, each with its best helpers."""
    networks: list[Network] = []
    score = 0.0
    for units in served:
        value, trained = best_network(problem, units)
        score += value
        networks.append(
            Network(
                trained=frozenset(problem.tasks[task] for task in trained),
                served=frozenset(
                    problem.tasks[task] for unit in units for task in problem.units[unit]
                ),
            )
        )
    networks.sort(key=lambda network: sorted(network.served))
    return score, Grouping(tuple(networks), score=score, solver=solver)


def over_subsets(singles: Float64[np.ndarray, "unit"]) -> Float64[np.ndarray, "subset"]:
    """The sum over the members of every subset."""
    sums = np.zeros(1)
    for single in singles:
        sums = np.concatenate([sums, sums + single])
    return sums


def submasks(mask: int) -> np.ndarray:
    """Every subset of a bit mask, the empty one first."""
    masks = np.zeros(1, dtype=np.int64)
    for bit in range(mask.bit_length()):
        if mask >> bit & 1:
            masks = np.concatenate([masks, masks | (1 << bit)])
    return masks


def _forbidden(problem: GroupingProblem) -> np.ndarray:
    """Which subsets hold an impossible unit, or two units that no network may both serve."""
    n_units = len(problem.units)
    forbidden = np.zeros(1, dtype=bool)
    for unit in range(n_units):
        with_unit = forbidden | problem.units_apart[unit, unit]
        for other in np.flatnonzero(problem.units_apart[unit, :unit]):
            with_unit = with_unit | (np.arange(1 << unit) >> other & 1).astype(bool)
        forbidden = np.concatenate([forbidden, with_unit])
    return forbidden


def _with_sorted_helpers(problem: GroupingProblem) -> Float64[np.ndarray, "subset"]:
    pairs = problem.pairs
    n_tasks, n_units = len(problem.tasks), len(problem.units)
    sizes = over_subsets(problem.sizes.astype(float)).astype(np.int64)  # subset
    lone = over_subsets(np.array([pairs.lone[list(unit)].sum() for unit in problem.units]))
    unit_gives = np.stack([pairs.onto[:, list(unit)].sum(axis=1) for unit in problem.units])
    helpers = np.flatnonzero(problem.may_help)
    values = np.empty(1 << n_units)
    for start in range(0, 1 << n_units, _CHUNK):
        masks = np.arange(start, min(start + _CHUNK, 1 << n_units))
        chosen = (masks[:, None] >> np.arange(n_units) & 1).astype(bool)  # subset unit
        gives = chosen.astype(float) @ unit_gives  # subset task
        served = np.zeros((len(masks), n_tasks), dtype=bool)
        for unit, tasks in enumerate(problem.units):
            served[:, list(tasks)] = chosen[:, [unit]]
        inside = np.where(served, gives, 0.0).sum(axis=1)
        extra = np.where(served, -np.inf, gives)[:, helpers]
        extra = -np.sort(-extra, axis=1)
        totals = np.cumsum(np.concatenate([inside[:, None], extra], axis=1), axis=1)
        trained = sizes[masks, None] + np.arange(len(helpers) + 1)
        scores = _pooled(pairs, totals, trained, lone[masks, None])
        allowed = (trained >= pairs.smallest) & (trained <= problem.largest)
        values[masks] = np.where(allowed, scores, -np.inf).max(axis=1)
    return values


def _pooled(pairs: Pairs, totals: np.ndarray, trained: np.ndarray, lone: np.ndarray) -> np.ndarray:
    pooled = totals / np.maximum(trained - 1, 1) if pairs.is_mean else totals
    return np.where(trained == 1, lone, pooled)
