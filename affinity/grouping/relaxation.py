"""Relaxation: a bound on every grouping's score, for any number of tasks."""

import time

import numpy as np
from jaxtyping import Float64

from .request import Request

_STEPS = 400  # after which it hardly falls


def upper_bound(request: Request, seconds: float = 10.0, score: float | None = None) -> float:
    r"""No grouping of `request` scores above this.

    Let every task choose for itself the size of its network and its partners. With :math:`u_t(m)`
    the best that :math:`t` gets from :math:`m - 1` partners,

    .. math::
        \max_m \sum_t u_t(m_t) \quad \text{with} \quad \sum_t \frac{1}{m_t} \le K

    is a bound, because a network of size :math:`m` serves at most :math:`m` tasks. Its Lagrangian
    in :math:`\lambda` for the budget is sorted out task by task. In disjoint networks partners
    choose each other, so what two tasks add together, :math:`c_{ij} = A_{ij} + A_{ji}`, may be
    shared out between them in any way: a subgradient method shares it out so that the bound is
    least. This is the Lagrangian relaxation of the pairwise linearization with
    :math:`z_{ijm} \le y_{im}, y_{jm}`.

    Args:
        request: Costs are not looked at, which leaves the bound valid.
        seconds: How long to improve it.
        score: Of a known grouping; helps to choose steps, and the method stops when it is reached.
    """
    deadline = time.perf_counter() + seconds
    pairs = request.pairs
    if request.may_help.any():
        return _Relaxed(request).bound(pairs.onto.T)[0]
    relaxed = _Relaxed(request)
    shares = (pairs.onto + pairs.onto.T) / 2  # task partner
    best = min(relaxed.bound(pairs.onto.T)[0], bound := relaxed.bound(shares)[0])
    target = score if score is not None else bound - 0.05 * abs(bound)
    scale, stalled = 1.0, 0
    worthwhile = 1e-5 * max(abs(best), float(np.abs(shares).sum()) / len(shares))
    for _ in range(_STEPS):
        if time.perf_counter() > deadline:
            break
        bound, chosen = relaxed.bound(shares)
        if bound < best - worthwhile:
            best, stalled = bound, 0
        else:
            best, stalled = min(best, bound), stalled + 1
        if stalled >= 10:
            scale, stalled = scale / 2, 0
        step = (chosen - chosen.T) / 2
        length = (step**2).sum()
        if length < 1e-12 or best - target <= worthwhile / 100 or scale < 1e-3:
            break
        shares = shares - scale * max(bound - target, 0.0) / length * step
    return best if score is None else max(best, score)


class _Relaxed:
    """Every task's best partners under given shares, and the best sizes within the budget."""

    def __init__(self, request: Request) -> None:
        n_tasks = len(request.tasks)
        pairs = request.pairs
        self._lone = pairs.lone
        self._is_mean = pairs.is_mean
        unit_of = np.empty(n_tasks, dtype=np.int64)
        for unit, tasks in enumerate(request.units):
            unit_of[list(tasks)] = unit
        self._forced = unit_of[:, None] == unit_of
        np.fill_diagonal(self._forced, False)
        self._barred = request.apart | np.eye(n_tasks, dtype=bool)
        if not request.may_help.any():
            self._barred |= request.units_apart[unit_of][:, unit_of]
        self._sizes = np.arange(1, request.largest + 1)
        allowed = (self._sizes >= pairs.smallest) & (
            self._sizes >= 1 + self._forced.sum(axis=1)[:, None]
        )
        self._penalty = np.where(allowed, 0.0, -np.inf)  # task size
        self._n_networks = request.n_networks

    def bound(
        self, shares: Float64[np.ndarray, "task partner"]
    ) -> tuple[float, Float64[np.ndarray, "task partner"]]:
        """The bound, and what it would change by if a partner's share grew."""
        ranked = np.where(self._barred, -np.inf, shares)
        order = np.argsort(-np.where(self._forced, np.inf, ranked), axis=1, kind="stable")
        totals = np.cumsum(np.take_along_axis(ranked, order, axis=1), axis=1)
        totals = totals[:, : len(self._sizes) - 1]
        pooled = totals / self._sizes[:-1] if self._is_mean else totals
        scores = np.concatenate([self._lone[:, None], pooled], axis=1) + self._penalty
        price = self._price(scores)
        priced = scores - price / self._sizes
        chosen = priced.argmax(axis=1)
        bound = price * self._n_networks + priced.max(axis=1).sum()
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(len(order))[None, :], axis=1)
        weight = 1.0 / np.maximum(chosen, 1) if self._is_mean else np.ones(len(chosen))
        return float(bound), np.where(rank < chosen[:, None], weight[:, None], 0.0)

    def _price(self, scores: Float64[np.ndarray, "task size"]) -> float:
        """The price of a network at which the tasks ask for about as many as there are."""
        asked = 1 / self._sizes

        def too_many(price: float) -> bool:
            return float(asked[(scores - price * asked).argmax(axis=1)].sum()) > self._n_networks

        if not too_many(0.0):
            return 0.0
        low, high = 0.0, max(1e-12, float(np.abs(scores[np.isfinite(scores)]).max()))
        while too_many(high) and high < 1e6 * low + 1e9:
            low, high = high, 2 * high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if too_many(middle) else (low, middle)
        return high
