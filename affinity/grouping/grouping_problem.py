"""The request: what a solver is asked, checked once and turned into arrays."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64

from affinity.errors import InputError

from .budget import Budget
from .constraints import Constraints
from .grouping import Grouping
from .pairs import Pairs
from .table import Table


class NothingFoundError(InputError):
    """No grouping is within budget and wishes, or a solver met none."""


@dataclass(frozen=True, eq=False)
class GroupingProblem:
    """Scores, budget and wishes. Tasks that are served together count as one *unit*.

    Args:
        scores: What is summed.
        budget: How many networks, at what cost.
        wishes: What else must hold.
        overlap: Whether every task may help in networks that do not serve it.
        time_limit: Seconds after which a solver answers with the best it has.
        seed: Of whatever a solver draws.
    """

    scores: Pairs | Table
    budget: Budget
    wishes: Constraints = field(default_factory=Constraints)
    overlap: bool = False
    time_limit: float = 60.0
    seed: int = 0

    @property
    def pairs(self) -> Pairs:
        """The scores, for solvers that read pairs.

        Raises:
            InputError: If they are a table.
        """
        if isinstance(self.scores, Table):
            raise InputError(
                "Expected an affinity matrix for this solver, but got a table of group scores. "
                "Use the solver 'integer_program'."
            )
        return self.scores

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of their names."""
        return self.scores.tasks

    @cached_property
    def units(self) -> tuple[tuple[int, ...], ...]:
        """The tasks of each unit, as indices."""
        index = {task: position for position, task in enumerate(self.tasks)}
        return tuple(tuple(index[task] for task in unit) for unit in self.wishes.units(self.tasks))

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "unit"]:
        """How many tasks each unit has."""
        return np.array([len(unit) for unit in self.units])

    @cached_property
    def apart(self) -> Bool[np.ndarray, "task task"]:
        """Which tasks no network may train both."""
        apart = np.zeros((len(self.tasks), len(self.tasks)), dtype=bool)
        for one, other in self.wishes.pairs_apart():
            pair = self.tasks.index(one), self.tasks.index(other)
            apart[pair] = apart[pair[::-1]] = True
        return apart

    @cached_property
    def units_apart(self) -> Bool[np.ndarray, "unit unit"]:
        """Which units no network may serve both; on the diagonal, units that cannot be."""
        member = self._member
        apart = member.T @ self.apart @ member > 0
        kernels = np.array(
            [
                [set(kernel) <= {self.tasks[t] for t in unit} for unit in self.units]
                for kernel in self.wishes.fixed
            ]
        ).reshape(-1, len(self.units))  # kernel unit
        for index, kernel in enumerate(kernels):
            others = np.delete(kernels, index, axis=0).any(axis=0)
            apart |= np.outer(kernel, others) | np.outer(others, kernel)
        return apart

    @cached_property
    def may_help(self) -> Bool[np.ndarray, "task"]:
        """Which tasks may be trained in networks that do not serve them."""
        helpers = set(self.wishes.helpers)
        return np.array([self.overlap or task in helpers for task in self.tasks])

    @property
    def largest(self) -> int:
        """How many tasks a network trains at most."""
        return min(self.wishes.largest or len(self.tasks), len(self.tasks))

    @property
    def n_networks(self) -> int:
        """How many networks there are at most."""
        return min(self.budget.networks or len(self.units), len(self.units))

    def within_cost(self, grouping: Grouping) -> bool:
        """Whether the networks cost no more than the budget in total."""
        if self.budget.cost is None:
            return True
        total = sum(self.budget.of(network.trained) for network in grouping.networks)
        return total <= self.budget.cost * (1 + 1e-9)

    @cached_property
    def between(self) -> Float64[np.ndarray, "unit unit"]:
        """What two units add to each other, both ways; on the diagonal, what is inside one."""
        member = self._member
        between = member.T @ (self.pairs.onto + self.pairs.onto.T) @ member
        between[np.diag_indices_from(between)] /= 2
        return between

    @cached_property
    def _member(self) -> Float64[np.ndarray, "task unit"]:
        member = np.zeros((len(self.tasks), len(self.units)))
        for unit, tasks in enumerate(self.units):
            member[list(tasks), unit] = 1.0
        return member
