"""Agglomerative: merge the two networks whose merger gains most, down to one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from .best_of import best_of
from .grouping import Grouping
from .grouping_problem import GroupingProblem
from .partition import Partition


@dataclass(frozen=True)
class Agglomerative:
    """The best level of one tree of mergers, by the objective itself.

    Every unit starts alone. Each step merges the two networks whose merger changes the score most
    for the better, or least for the worse: average linkage, for the objective that is asked.
    """

    def __call__(self, request: GroupingProblem) -> Grouping:
        """The best level of the tree within the budget."""
        return best_of(request, merged_levels(request), "agglomerative")


def merged_levels(
    request: GroupingProblem, labels: Int64[np.ndarray, "unit"] | None = None
) -> Iterator[Int64[np.ndarray, "unit"]]:
    """The partitions on the way from `labels` (every unit alone) to one network, labels packed."""
    labels = np.arange(len(request.units)) if labels is None else labels.copy()
    partition = Partition(request, labels, int(labels.max()) + 1)
    names = np.arange(partition.n_networks)
    yield labels
    gains = partition.merge_gains()
    while len(names) > 1:
        one, other = sorted(divmod(int(gains.argmax()), len(gains)))
        partition.merge(one, other)
        names = names[names != other]
        gains[other, :] = gains[:, other] = -np.inf
        gains[one, :] = gains[:, one] = partition.merge_gains(one)
        yield np.searchsorted(names, partition.labels)
