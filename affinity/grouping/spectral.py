"""Spectral clustering of the tasks, for every number of networks in the budget."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Int64
from sklearn.cluster import KMeans

from .best_of import best_of
from .grouping import Grouping
from .grouping_problem import GroupingProblem


@dataclass(frozen=True)
class Spectral:
    """k-means on the leading eigenvectors of the normalized affinities between units.

    The affinities are made symmetric, averaged over the tasks of units, and shifted so that the
    lowest is 0; the objective then picks among the numbers of networks.

    References:
        Ng, Jordan and Weiss (2001), `On Spectral Clustering: Analysis and an Algorithm
        <https://papers.nips.cc/paper/2092-on-spectral-clustering-analysis-and-an-algorithm>`_.
    """

    def __call__(self, request: GroupingProblem) -> Grouping:
        """The best clustering within the budget."""
        return best_of(request, _clusterings(request), "spectral")


def _clusterings(request: GroupingProblem) -> Iterator[Int64[np.ndarray, "unit"]]:
    n_units = len(request.units)
    weights = request.between / np.outer(request.sizes, request.sizes)
    np.fill_diagonal(weights, np.inf)
    weights = weights - weights.min() if n_units > 1 else np.ones((1, 1))
    np.fill_diagonal(weights, weights[np.isfinite(weights)].max(initial=0.0))
    degree = np.sqrt(np.maximum(weights.sum(axis=1), 1e-12))
    _, vectors = np.linalg.eigh(weights / degree[:, None] / degree)
    vectors = vectors[:, ::-1]
    fewest = request.n_networks if request.budget.exactly else 1
    for number in range(request.n_networks, fewest - 1, -1):
        points = vectors[:, :number]
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        points = points / np.maximum(lengths, 1e-12)
        distinct = len(np.unique(points.round(9), axis=0))
        clusters = KMeans(min(number, distinct), n_init=cast(Any, 4), random_state=request.seed)
        yield clusters.fit_predict(points).astype(np.int64)
