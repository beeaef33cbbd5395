"""A partition of the units that knows what each change of it would be worth."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from .grouping_problem import GroupingProblem


class Partition:
    """Units in networks, with the gain of every move and every swap as one table.

    What the wishes forbid costs more than any score can make up for, so that climbing also mends
    a start that breaks them. Helpers are left out.

    Args:
        request: Scores and wishes.
        labels: The network of each unit.
        n_networks: How many networks there are; some may be empty.
    """

    def __init__(
        self, request: GroupingProblem, labels: Int64[np.ndarray, "unit"], n_networks: int
    ) -> None:
        pairs = request.pairs
        self._smallest, self._largest = pairs.smallest, request.largest
        self._is_mean = pairs.is_mean
        self._may_be_empty = not request.budget.exactly
        self._inside = np.diag(request.between).copy()
        self._between = request.between - np.diag(self._inside)
        self._lone = np.array([pairs.lone[list(unit)].sum() for unit in request.units])
        self._apart = request.units_apart.astype(float)
        self._is_possible = not request.units_apart.diagonal().any()
        np.fill_diagonal(self._apart, 0.0)
        self._sizes = request.sizes.astype(float)
        self._fine = 2 * (np.abs(request.between).sum() + np.abs(self._lone).sum()) or 1.0
        self.n_networks = n_networks
        self.labels = labels.copy()
        one_hot = np.zeros((len(labels), n_networks))
        one_hot[np.arange(len(labels)), labels] = 1.0
        self._links = self._between @ one_hot  # unit network
        self._foes = self._apart @ one_hot  # unit network
        self._size = self._sizes @ one_hot  # network
        self._total = self._inside @ one_hot + (self._links * one_hot).sum(axis=0) / 2
        self._own = self._lone @ one_hot
        self._conflicts = (self._foes * one_hot).sum(axis=0) / 2

    @property
    def values(self) -> Float64[np.ndarray, "network"]:
        """Each network's score, less the fines."""
        return self._value(self._total, self._size, self._own, self._conflicts)

    @property
    def score(self) -> float:
        """The sum of the networks' scores, less the fines."""
        return float(self.values.sum())

    @property
    def is_allowed(self) -> bool:
        """Whether every wish is respected."""
        return self._is_possible and not self._fines(self._size, self._conflicts).any()

    @property
    def served(self) -> list[list[int]]:
        """The units of each network that has any."""
        units = [np.flatnonzero(self.labels == network) for network in range(self.n_networks)]
        return [members.tolist() for members in units if len(members)]

    def climb(self, is_over: Callable[[], bool]) -> None:
        """Take the best move, or where none improves the best swap, until none improves either."""
        while not is_over():
            tolerance = 1e-11 * self._fine
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
            if sign > 0:
                self._total[place] += self._links[unit, place] + self._inside[unit]
                self._conflicts[place] += self._foes[unit, place]
            else:
                self._total[place] -= self._links[unit, place] + self._inside[unit]
                self._conflicts[place] -= self._foes[unit, place]
            self._size[place] += sign * self._sizes[unit]
            self._own[place] += sign * self._lone[unit]
            self._links[:, place] += sign * self._between[:, unit]
            self._foes[:, place] += sign * self._apart[:, unit]
        self.labels[unit] = network

    def move_gains(self) -> Float64[np.ndarray, "unit network"]:
        """What the score gains when a unit moves to a network."""
        values, home = self.values, self.labels
        every = np.arange(len(home))
        left = self._value(
            self._total[home] - self._links[every, home] - self._inside,
            self._size[home] - self._sizes,
            self._own[home] - self._lone,
            self._conflicts[home] - self._foes[every, home],
        )
        joined = self._value(
            self._total + self._links + self._inside[:, None],
            self._size + self._sizes[:, None],
            self._own + self._lone[:, None],
            self._conflicts + self._foes,
        )
        gains = (left - values[home])[:, None] + joined - values
        gains[every, home] = -np.inf
        return gains

    def swap_gains(self) -> Float64[np.ndarray, "unit other"]:
        """What the score gains when two units of different networks change places."""
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
            (self._own[home] - self._lone)[:, None] + self._lone,
            exchanged(self._conflicts, self._foes, np.zeros(len(home)), self._apart),
        )
        gains = at_home - values[home][:, None]
        gains = gains + gains.T
        gains[home[:, None] == home] = -np.inf
        return gains

    def merge_gains(self, network: int | None = None) -> Float64[np.ndarray, "..."]:
        """What the score gains when two networks merge; with `network`, only its row.

        Minus infinity for a network with itself and with empty ones.
        """
        rows = np.arange(self.n_networks) if network is None else np.array([network])
        one_hot = (self.labels[:, None] == rows).astype(float)  # unit row
        values = self.values
        merged = self._value(
            self._total[rows, None] + self._total + one_hot.T @ self._links,
            self._size[rows, None] + self._size,
            self._own[rows, None] + self._own,
            self._conflicts[rows, None] + self._conflicts + one_hot.T @ self._foes,
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
        return score - self._fine * self._fines(size, conflicts)

    def _fines(self, size: np.ndarray, conflicts: np.ndarray) -> np.ndarray:
        fines = np.maximum(size - self._largest, 0) + np.round(conflicts)
        if self._may_be_empty:
            return fines + np.where(size > 0, np.maximum(self._smallest - size, 0), 0)
        return fines + np.maximum(self._smallest - size, 0)
