"""The frontier's file: the best grouping by affinity for every budget, a row a budget."""

import json
from collections.abc import Iterable

import pandas as pd

from affinity.estimates import AffinityMatrix
from affinity.grouping import frontier

_EVERY_BUDGET = 12  # tasks: up to here every budget is solved exactly, in a moment
_LARGEST = 8
_SECONDS = 20.0


def frontier_csv(matrix: AffinityMatrix, budget: int, overlap: bool) -> str:
    """The frontier by affinity as CSV; of many tasks up to 8 or the budget, within 20 seconds."""
    n_tasks = len(matrix.tasks)
    largest = n_tasks if n_tasks <= _EVERY_BUDGET else max(_LARGEST, budget)
    best = frontier(matrix, largest=largest, overlap=overlap, time_limit=_SECONDS)
    rows = [
        {
            "budget": number,
            "score": grouping.score,
            "bound": grouping.bound,
            "proven_best": grouping.is_optimal,
            "serves": _lists(network.served for network in grouping.networks),
            "trains": _lists(network.trained for network in grouping.networks),
        }
        for number, grouping in best.items()
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def _lists(networks: Iterable[frozenset[str]]) -> str:
    return json.dumps([sorted(tasks) for tasks in networks], ensure_ascii=False)
