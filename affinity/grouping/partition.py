"""Partition: units in networks, with the gain of every move, swap and merger as one table."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from .grouping_problem import GroupingProblem
from .highs import maximize


class Partition:
    """Units in networks (some may be empty), with the gain of every move and swap as one table.

    A violated constraint costs a penalty larger than any score, so that climbing also repairs a
    start that violates constraints. Helpers are left out.
    """

    def __init__(
        self, problem: GroupingProblem, labels: Int64[np.ndarray, "unit"], n_networks: int
    ) -> None:
        pairs = problem.pairs
        self._smallest, self._largest = pairs.smallest, problem.largest
        self._is_mean = pairs.is_mean
        self._may_be_empty = not problem.budget.exactly
        self._inside = np.diag(problem.between).copy()
        self._between = problem.between - np.diag(self._inside)
        self._lone = np.array([pairs.lone[list(unit)].sum() for unit in problem.units])
        self._apart = problem.units_apart.astype(float)
        self._is_possible = not problem.units_apart.diagonal().any()
        np.fill_diagonal(self._apart, 0.0)
        self._sizes = problem.sizes.astype(float)
        self._penalty = 2 * (np.abs(problem.between).sum() + np.abs(self._lone).sum()) or 1.0
        self.n_networks = n_networks
        self.labels = labels.copy()
        one_hot = np.zeros((len(labels), n_networks))
        one_hot[np.arange(len(labels)), labels] = 1.0
        self._links = self._between @ one_hot  # unit network
        self._n_apart = self._apart @ one_hot  # unit network
        self._size = self._sizes @ one_hot  # network
        self._total = self._inside @ one_hot + (self._links * one_hot).sum(axis=0) / 2
        self._lone_scores = self._lone @ one_hot
        self._conflicts = (self._n_apart * one_hot).sum(axis=0) / 2

    @property
    def values(self) -> Float64[np.ndarray, "network"]:
        """Each network's score, less the penalties."""
        return self._value(self._total, self._size, self._lone_scores, self._conflicts)

    @property
    def score(self) -> float:
        """The sum of the networks' scores, less the penalties."""
        return float(self.values.sum())

    @property
    def is_allowed(self) -> bool:
        """Whether every constraint is respected."""
        return self._is_possible and not self._violations(self._size, self._conflicts).any()

    @property
    def served(self) -> list[list[int]]:
        """The units of each network that has any."""
        units = [np.flatnonzero(self.labels == network) for network in range(self.n_networks)]
        return [members.tolist() for members in units if len(members)]

    def climb(self, is_over: Callable[[], bool]) -> None:
        """Make the best move, or the best swap if no move helps, until neither helps."""
        while not is_over():
            tolerance = 1e-11 * self._penalty
            gains = self.move_gains()
            unit, network = divmod(int(gains.argmax()), self.n_networks)
            if gains[unit, network] > tolerance:
                self.move(unit, network)
                continue
            gains = self.swap_gains()
            one, other = divmod(int(gains.argmax()), len(self.labels))
            if gains[one, other] <= tolerance:
                return
            home, away = int(self.labels[one]), int(self.labels[other])
            self.move(one, away)
            self.move(other, home)

    def move(self, unit: int, network: int) -> None:
        """Put `unit` into `network`."""
        home = self.labels[unit]
        for place, sign in ((home, -1.0), (network, 1.0)):
            self._total[place] += sign * (self._links[unit, place] + self._inside[unit])
            self._conflicts[place] += sign * self._n_apart[unit, place]
            self._size[place] += sign * self._sizes[unit]
            self._lone_scores[place] += sign * self._lone[unit]
            self._links[:, place] += sign * self._between[:, unit]
            self._n_apart[:, place] += sign * self._apart[:, unit]
        self.labels[unit] = network

    def move_gains(self) -> Float64[np.ndarray, "unit network"]:
        """The change of the score when a unit moves to a network."""
        values, home = self.values, self.labels
        every = np.arange(len(home))
        left = self._value(
            self._total[home] - self._links[every, home] - self._inside,
            self._size[home] - self._sizes,
            self._lone_scores[home] - self._lone,
            self._conflicts[home] - self._n_apart[every, home],
        )
        joined = self._value(
            self._total + self._links + self._inside[:, None],
            self._size + self._sizes[:, None],
            self._lone_scores + self._lone[:, None],
            self._conflicts + self._n_apart,
        )
        gains = (left - values[home])[:, None] + joined - values
        gains[every, home] = -np.inf
        return gains

    def swap_gains(self) -> Float64[np.ndarray, "unit other"]:
        """The change of the score when two units of different networks are swapped."""
        values, home = self.values, self.labels
        every = np.arange(len(home))

        def exchanged(
            total: np.ndarray, links: np.ndarray, own: np.ndarray, each: np.ndarray
        ) -> np.ndarray:
            left = total[home] - links[every, home] - own  # unit
            return left[:, None] + links[:, home].T - each + own  # unit other

        at_home = self._value(
            exchanged(self._total, self._links, self._inside, self._between),
            (self._size[home] - self._sizes)[:, None] + self._sizes,
            (self._lone_scores[home] - self._lone)[:, None] + self._lone,
            exchanged(self._conflicts, self._n_apart, np.zeros(len(home)), self._apart),
        )
        gains = at_home - values[home][:, None]
        gains = gains + gains.T
        gains[home[:, None] == home] = -np.inf
        return gains

    def merge_gains(self, network: int | None = None) -> Float64[np.ndarray, "..."]:
        """The change of the score when two networks merge; with `network`, only its row.

        Minus infinity for a network with itself and with empty ones.
        """
        rows = np.arange(self.n_networks) if network is None else np.array([network])
        one_hot = (self.labels[:, None] == rows).astype(float)  # unit row
        values = self.values
        merged = self._value(
            self._total[rows, None] + self._total + one_hot.T @ self._links,
            self._size[rows, None] + self._size,
            self._lone_scores[rows, None] + self._lone_scores,
            self._conflicts[rows, None] + self._conflicts + one_hot.T @ self._n_apart,
        )
        gains = merged - values[rows, None] - values
        gains[self._size[rows] == 0] = gains[:, self._size == 0] = -np.inf
        gains[np.arange(len(rows)), rows] = -np.inf
        return gains if network is None else gains[0]

    def merge(self, one: int, other: int) -> None:
        """Put every unit of `other` into `one`."""
        for unit in np.flatnonzero(self.labels == other).tolist():
            self.move(unit, one)

    def _value(
        self, total: np.ndarray, size: np.ndarray, own: np.ndarray, conflicts: np.ndarray
    ) -> np.ndarray:
        pooled = total / np.maximum(size - 1, 1) if self._is_mean else total
        score = np.where(size > 1, pooled, np.where(size == 1, own, 0.0))
        return score - self._penalty * self._violations(size, conflicts)

    def _violations(self, size: np.ndarray, conflicts: np.ndarray) -> np.ndarray:
        missing = np.maximum(self._smallest - size, 0)
        if self._may_be_empty:
            missing = np.where(size > 0, missing, 0)
        return np.maximum(size - self._largest, 0) + np.round(conflicts) + missing


def any_partition(
    problem: GroupingProblem, seconds: float = 60.0
) -> Int64[np.ndarray, "unit"] | None:
    """Labels of some partition within budget and constraints; None if there is none.

    An integer program of units by networks. Scores, costs and helpers are left out.
    """
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_array, eye_array, hstack, kron

    n_units, n_networks = len(problem.units), problem.n_networks
    if np.diag(problem.units_apart).any() or (problem.sizes > problem.largest).any():
        return None
    if problem.budget.exactly and (problem.budget.networks or 0) > n_units:
        return None
    smallest = 1 if problem.may_help.any() else problem.pairs.smallest
    n_y = n_units * n_networks
    of_unit = kron(eye_array(n_units), csr_array(np.ones((1, n_networks))))
    size = kron(csr_array(problem.sizes[None, :].astype(float)), eye_array(n_networks))
    used = eye_array(n_networks)
    none = csr_array((n_units, n_networks))
    rows = [
        LinearConstraint(hstack([of_unit, none]), 1, 1),
        LinearConstraint(hstack([size, -problem.largest * used]), -np.inf, 0),
        LinearConstraint(hstack([size, -smallest * used]), 0, np.inf),
    ]
    for one, other in np.argwhere(np.triu(problem.units_apart, 1)):
        pair = csr_array(np.isin(np.arange(n_units), (one, other))[None, :].astype(float))
        rows.append(LinearConstraint(hstack([kron(pair, used), -used]), -np.inf, 0))
    upper = np.ones((n_units, n_networks))
    upper[np.arange(n_units)[:, None] < np.arange(n_networks)] = 0.0  # breaks the symmetry
    lower = np.zeros(n_y + n_networks)
    lower[n_y:] = float(problem.budget.exactly)
    solution = maximize(
        np.zeros(n_y + n_networks),
        rows,
        seconds,
        at_least=lower,
        at_most=np.concatenate([upper.ravel(), np.ones(n_networks)]),
    )
    if solution.values is None:
        return None
    return solution.values[:n_y].reshape(n_units, n_networks).argmax(axis=1)
