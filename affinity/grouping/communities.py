"""Communities of the graph of tasks that help each other."""

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
from jaxtyping import Int64

from .agglomerative import merged_levels
from .best_of import best_of
from .grouping import Grouping
from .grouping_problem import GroupingProblem


@dataclass(frozen=True)
class Communities:
    """Louvain communities at several resolutions, merged down to the budget.

    The graph has an edge where two units help each other in sum, as heavy as that. It knows no
    number of groups: where there are more communities than networks, those are merged whose merger
    costs least.

    Args:
        resolutions: Higher ones give more and smaller communities.

    References:
        Blondel et al. (2008), `Fast unfolding of communities in large networks
        <https://arxiv.org/abs/0803.0476>`_.
    """

    resolutions: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)

    def __call__(self, request: GroupingProblem) -> Grouping:
        """The best communities within the budget."""
        return best_of(request, self._partitions(request), "communities")

    def _partitions(self, request: GroupingProblem) -> Iterator[Int64[np.ndarray, "unit"]]:
        helping = np.triu(np.maximum(request.between, 0.0), 1)
        graph: nx.Graph[int] = nx.from_numpy_array(helping)
        for resolution in self.resolutions:
            found = nx.community.louvain_communities(
                graph, weight="weight", resolution=resolution, seed=request.seed
            )
            labels = np.zeros(len(request.units), dtype=np.int64)
            for label, community in enumerate(sorted(map(sorted, found))):
                labels[community] = label
            yield from merged_levels(request, labels)
