"""Clustered order: tasks that help each other are neighbours, network by network."""

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping

MOST_ORDERED = 300  # with more tasks, clusters are in the order in which they were found


def clustered_order(matrix: AffinityMatrix, grouping: Grouping | None = None) -> list[int]:
    """Positions of the tasks by average linkage on the mean affinity of both directions.

    With a grouping, the tasks of a network stay together.
    """
    n_tasks = len(matrix.tasks)
    if n_tasks < 3 and grouping is None:
        return list(range(n_tasks))
    values = np.nan_to_num(matrix.values.double().numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    mutual = (values + values.T) / 2
    distance = mutual.max() - mutual
    if grouping is not None:
        home = [grouping.networks.index(grouping.network_of(task)) for task in matrix.tasks]
        apart = np.not_equal.outer(home, home)
        distance = distance + apart * (n_tasks * (np.ptp(distance) + 1.0))
    np.fill_diagonal(distance, 0.0)
    if n_tasks < 3:
        return list(range(n_tasks))
    # The best order of the leaves takes time that grows with the square of their number or faster.
    is_ordered = n_tasks <= MOST_ORDERED
    pairs = squareform(distance, checks=False)
    tree = linkage(pairs, method="average", optimal_ordering=is_ordered)
    return leaves_list(tree).tolist()


def reorder(square: Tensor, order: list[int]) -> np.ndarray:
    """Rows and columns in this order; NaN on the diagonal and where a value is not finite."""
    values = square.double().numpy()[np.ix_(order, order)]
    np.fill_diagonal(values, np.nan)
    values[~np.isfinite(values)] = np.nan
    return values
