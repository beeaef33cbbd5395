"""Relaxation: an upper bound on every grouping's score, for any number of tasks."""

import time

import numpy as np
from jaxtyping import Float64, Int64

from .grouping_problem import GroupingProblem

_SHARING_STEPS = 100  # cheap; sufficient where the groups are clear
_STEPS = 500  # after which the bound hardly falls


def upper_bound(
    problem: GroupingProblem, seconds: float = 10.0, score: float | None = None
) -> float:
    r"""An upper bound on the score of every grouping of `problem`, whose costs are ignored.

    Let every task choose the size of its network and its partners. With :math:`u_t(m)`
    the best that :math:`t` gets from :math:`m - 1` partners,

    .. math::
        \max_m \sum_t u_t(m_t) \quad \text{with} \quad \sum_t \frac{1}{m_t} \le K

    is a bound, because a network of size :math:`m` serves at most :math:`m` tasks. Its Lagrangian
    in :math:`\lambda` for the budget is solved task by task. In disjoint networks two more
    properties hold, and each makes the bound tighter:

    - Partners choose each other. Therefore the joint contribution of two tasks,
      :math:`c_{ij} = A_{ij} + A_{ji}`, may be divided between them in any way.
    - A network with members :math:`s \in \{0, 1\}^T` gains from any positive semidefinite matrix
      :math:`W` added to :math:`c`, diagonal included, because :math:`s^\top W s \ge 0`. This
      couples the choices of all tasks: two tasks that share a network must agree on a third.

    A projected subgradient method finds the shares and :math:`W` that minimize the bound; each step
    needs an eigenvalue decomposition. `score`, of a known grouping, sets the step size, and the
    method stops there. This is the semidefinite relaxation of the problem (Peng and Wei, 2007, for
    groups of one cost: https://doi.org/10.1137/050641983), tight for planted groups even with much
    noise; with :math:`W = 0` it is the Lagrangian relaxation of the pairwise linearization.
    """
    deadline = time.perf_counter() + seconds
    pairs = problem.pairs
    relaxed = _Relaxed(problem)
    best, _ = relaxed.bound(pairs.onto.T)
    if problem.may_help.any():
        return best
    shares = (pairs.onto + pairs.onto.T) / 2  # task partner
    lift = np.zeros_like(shares)
    bound, _ = relaxed.bound(shares)
    best = min(best, bound)
    target = score if score is not None else bound - 0.05 * abs(bound)
    worthwhile = 1e-5 * max(abs(best), float(np.abs(shares).sum()) / len(shares))
    for with_lift, steps in ((False, _SHARING_STEPS), (True, _STEPS)):
        scale, stalled = 1.0, 0
        for _ in range(steps):
            if time.perf_counter() > deadline or best - target <= worthwhile / 100:
                break
            bound, chosen = relaxed.bound(shares + lift / 2)
            stalled = 0 if bound < best - worthwhile else stalled + 1
            best = min(best, bound)
            if stalled >= 10:
                scale, stalled = scale / 2, 0
            exchange = (chosen - chosen.T) / 2
            fall = (chosen + chosen.T) / 4 * with_lift
            length = (exchange**2).sum() + (fall**2).sum()
            if length < 1e-12 or scale < 1e-3:
                break
            step = scale * max(bound - target, 0.0) / length
            shares = shares - step * exchange
            if with_lift:
                lift = _semidefinite(lift - step * fall)
    return best if score is None else max(best, score)


def _semidefinite(matrix: Float64[np.ndarray, "task task"]) -> Float64[np.ndarray, "task task"]:
    """The nearest positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 0.0)) @ vectors.T


class _Relaxed:
    """Every task's best partners for given shares, and the best sizes within the budget."""

    def __init__(self, problem: GroupingProblem) -> None:
        n_tasks = len(problem.tasks)
        pairs = problem.pairs
        self._lone = pairs.lone
        self._is_mean = pairs.is_mean
        unit_of = np.empty(n_tasks, dtype=np.int64)
        for unit, tasks in enumerate(problem.units):
            unit_of[list(tasks)] = unit
        self._forced = unit_of[:, None] == unit_of
        np.fill_diagonal(self._forced, False)
        self._barred = problem.apart | np.eye(n_tasks, dtype=bool)
        if not problem.may_help.any():
            self._barred |= problem.units_apart[unit_of][:, unit_of]
        self._sizes = np.arange(1, problem.largest + 1)
        allowed = (self._sizes >= pairs.smallest) & (
            self._sizes >= 1 + self._forced.sum(axis=1)[:, None]
        )
        self._penalty = np.where(allowed, 0.0, -np.inf)  # task size
        self._n_networks = problem.n_networks

    def bound(
        self, shares: Float64[np.ndarray, "task partner"]
    ) -> tuple[float, Float64[np.ndarray, "task partner"]]:
        """The bound, and its derivative by each share.

        The diagonal belongs to the term that a task with partners adds itself.
        """
        ranked = np.where(self._barred, -np.inf, shares)
        order = np.argsort(-np.where(self._forced, np.inf, ranked), axis=1, kind="stable")
        totals = np.cumsum(np.take_along_axis(ranked, order, axis=1), axis=1)
        totals = totals[:, : len(self._sizes) - 1] + np.diag(shares)[:, None]
        pooled = totals / self._sizes[:-1] if self._is_mean else totals
        scores = np.concatenate([self._lone[:, None], pooled], axis=1) + self._penalty
        bound, chosen = self._least(scores)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(len(order))[None, :], axis=1)
        weight = 1.0 / np.maximum(chosen, 1) if self._is_mean else np.ones(len(chosen))
        is_partner = (rank < chosen[:, None]) | (np.eye(len(order)) * chosen > 0)
        return bound, np.where(is_partner, weight[:, None], 0.0)

    def _least(
        self, scores: Float64[np.ndarray, "task size"]
    ) -> tuple[float, Int64[np.ndarray, "task"]]:
        """The least bound over the prices of a network, and how many partners each task has at it.

        The bound is convex and piecewise linear in the price: intersect the linear pieces at both
        ends of an interval until the intersection is on the curve.
        """

        def at(price: float) -> tuple[float, float, Int64[np.ndarray, "task"]]:
            priced = scores - price / self._sizes
            chosen = priced.argmax(axis=1)
            slope = self._n_networks - float((1 / self._sizes[chosen]).sum())
            return price * self._n_networks + float(priced.max(axis=1).sum()), slope, chosen

        low, high = 0.0, max(1e-12, float(np.abs(scores[np.isfinite(scores)]).max()))
        (bound, slope, chosen), (above, rise, fewer) = at(low), at(high)
        if slope >= 0:
            return bound, chosen
        while rise < 0 and high < 1e9:
            low, high, bound, slope = high, 2 * high, above, rise
            above, rise, fewer = at(high)
        for _ in range(40):
            if rise <= 1e-9:
                break
            price = (bound - above + rise * high - slope * low) / (rise - slope)
            meeting = above - rise * (high - price)
            value, turn, between = at(price)
            if turn < 0:
                low, bound, slope = price, value, turn
            else:
                high, above, rise, fewer = price, value, turn, between
            if value <= meeting + 1e-12 * max(1.0, abs(meeting)):
                break
        return min(bound, above), fewer
