"""Every partition of a few units, looked at one by one."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64

from .grouping import Grouping
from .grouping_problem import GroupingProblem, NothingFoundError
from .serving import grouping_of, serving_values

MOST_UNITS = 10


class EveryPartition:
    """All partitions within a request's number of networks and cost; 115,975 of 10 units.

    Args:
        request: Of at most `MOST_UNITS` units; with costs, networks must not overlap.
    """

    def __init__(self, request: GroupingProblem) -> None:
        n_units, budget = len(request.units), request.budget
        labels = _every_partition(n_units)
        n_networks = labels.max(axis=1) + 1
        labels = labels[
            n_networks == request.n_networks if budget.exactly else n_networks <= request.n_networks
        ]
        bits = 1 << np.arange(n_units)
        masks = [((labels == at) * bits).sum(axis=1) for at in range(request.n_networks)]
        self._masks = np.stack(masks, axis=1)  # partition network
        if budget.cost is not None:
            totals = _costs(request)[self._masks].sum(axis=1)
            self._masks = self._masks[totals <= budget.cost * (1 + 1e-9)]

    def best(self, request: GroupingProblem, number: int = 1) -> Iterator[tuple[float, Grouping]]:
        """The groupings of highest score for a request of the same budget and wishes.

        Raises:
            NothingFoundError: If there is none.
        """
        values = serving_values(request)
        values[0] = 0.0  # an empty network adds nothing
        totals = values[self._masks].sum(axis=1)
        ranked = np.argsort(-totals, kind="stable")[:number]
        ranked = ranked[np.isfinite(totals[ranked])]
        if not len(ranked):
            raise NothingFoundError(f"No partition makes a grouping of {request.budget}.")
        for masks in self._masks[ranked]:
            served = [
                [unit for unit in range(len(request.units)) if mask >> unit & 1]
                for mask in masks.tolist()
                if mask
            ]
            yield grouping_of(request, served, "every partition")


def _costs(request: GroupingProblem) -> Float64[np.ndarray, "subset"]:
    """What a network that serves a subset of the units costs."""
    costs = [0.0]
    for mask in range(1, 1 << len(request.units)):
        units = [unit for number, unit in enumerate(request.units) if mask >> number & 1]
        served = frozenset(request.tasks[task] for unit in units for task in unit)
        costs.append(request.budget.of(served))
    return np.array(costs)


def _every_partition(n_units: int) -> Int64[np.ndarray, "partition unit"]:
    """Every partition as labels that grow by at most one."""
    labels = np.zeros((1, 1), dtype=np.int64)
    for _ in range(n_units - 1):
        grown = labels.max(axis=1) + 2
        rows = np.repeat(np.arange(len(labels)), grown)
        last = np.concatenate([np.arange(n) for n in grown])
        labels = np.concatenate([labels[rows], last[:, None]], axis=1)
    return labels
