"""Grouping problem: scores, budget and constraints, checked once and turned into arrays."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64

from affinity.errors import InputError

from .budget import Budget
from .constraints import Constraints
from .grouping import Grouping
from .solver_scores import Pairs, Table


class NothingFoundError(InputError):
    """No grouping is within budget and constraints, or a solver found none."""

    def __init__(self, message: str, code: str = "no-grouping") -> None:
        super().__init__(message, code)


@dataclass(frozen=True, eq=False)
class GroupingProblem:
    """Scores, budget and constraints. Tasks that are served together count as one *unit*."""

    scores: Pairs | Table  # what is summed
    budget: Budget  # the number of networks and their cost
    # which tasks must, must not or may share networks
    constraints: Constraints = field(default_factory=Constraints)
    overlap: bool = False  # every task may help in networks that do not serve it
    time_limit: float = 60.0  # seconds; then a solver returns the best that it has found
    seed: int = 0

    @property
    def pairs(self) -> Pairs:
        """The scores, for solvers that read pairs; an error if they are a table."""
        if isinstance(self.scores, Table):
            raise InputError(
                "Expected an affinity matrix for this solver, but got a table of group scores. "
                "Use the solver 'integer_program'.",
                "wrong-solver",
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
        return tuple(
            tuple(index[task] for task in unit) for unit in self.constraints.units(self.tasks)
        )

    @cached_property
    def sizes(self) -> Int64[np.ndarray, "unit"]:
        """The number of tasks of each unit."""
        return np.array([len(unit) for unit in self.units])

    @cached_property
    def apart(self) -> Bool[np.ndarray, "task task"]:
        """Pairs of tasks that no network may both train."""
        apart = np.zeros((len(self.tasks), len(self.tasks)), dtype=bool)
        for one, other in self.constraints.pairs_apart():
            pair = self.tasks.index(one), self.tasks.index(other)
            apart[pair] = apart[pair[::-1]] = True
        return apart

    @cached_property
    def units_apart(self) -> Bool[np.ndarray, "unit unit"]:
        """Pairs of units that no network may both serve; on the diagonal, impossible units."""
        member = self._member
        apart = member.T @ self.apart @ member > 0
        kernels = np.array(
            [
                [set(kernel) <= {self.tasks[t] for t in unit} for unit in self.units]
                for kernel in self.constraints.fixed
            ]
        ).reshape(-1, len(self.units))  # kernel unit
        for index, kernel in enumerate(kernels):
            others = np.delete(kernels, index, axis=0).any(axis=0)
            apart |= np.outer(kernel, others) | np.outer(others, kernel)
        return apart

    @cached_property
    def may_help(self) -> Bool[np.ndarray, "task"]:
        """Which tasks may be trained in networks that do not serve them."""
        helpers = set(self.constraints.helpers)
        return np.array([self.overlap or task in helpers for task in self.tasks])

    @property
    def largest(self) -> int:
        """The maximum number of tasks of a network."""
        return min(self.constraints.largest or len(self.tasks), len(self.tasks))

    @property
    def n_networks(self) -> int:
        """The maximum number of networks."""
        return min(self.budget.networks or len(self.units), len(self.units))

    def within_cost(self, grouping: Grouping) -> bool:
        """Whether the total cost of the networks is within the budget."""
        if self.budget.cost is None:
            return True
        total = sum(self.budget.of(network.trained) for network in grouping.networks)
        return total <= self.budget.cost * (1 + 1e-9)

    @cached_property
    def between(self) -> Float64[np.ndarray, "unit unit"]:
        """The affinities between two units, summed both ways; on the diagonal, those within one."""
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
