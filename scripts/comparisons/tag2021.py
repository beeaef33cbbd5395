"""Fifty et al. (2021): groupings of CelebA (9) and Taskonomy (5) under TAG's objective.

Every task scores the mean affinity from its partners in the network that serves it; networks may
overlap; no task stands alone. Beside our score stands that of an exhaustive search.
"""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pandas as pd
import torch

from affinity.estimates import AffinityMatrix
from affinity.grouping import GroupingObjective, solve

DATA = Path("../shared/data/published/tag2021")


def matrix(name: str) -> AffinityMatrix:
    """The published table, turned: there the row is the task that is affected."""
    table = pd.read_csv(DATA / f"{name}_TAG_affinity.csv", index_col=0)
    return AffinityMatrix(tuple(table.columns), torch.tensor(table.to_numpy().T.copy()))


def exhaustive(affinity: AffinityMatrix, n_networks: int) -> float:
    """The best total over every split into served sets and every network that trains each."""
    n_tasks, values = len(affinity.tasks), affinity.to_frame().to_numpy().tolist()
    worth: dict[tuple[int, ...], float] = {}
    for size in range(2, n_tasks + 1):
        for trained in combinations(range(n_tasks), size):
            mean = {
                target: sum(values[source][target] for source in trained if source != target)
                / (size - 1)
                for target in trained
            }
            for n_served in range(1, size + 1):
                for served in combinations(trained, n_served):
                    total = sum(mean[task] for task in served)
                    worth[served] = max(worth.get(served, -float("inf")), total)
    return max(
        sum(worth[served] for served in served_sets)
        for served_sets in partitions(tuple(range(n_tasks)), n_networks)
    )


def partitions(tasks: tuple[int, ...], most: int) -> Iterator[list[tuple[int, ...]]]:
    if not tasks:
        yield []
    elif most:
        for size in range(len(tasks)):
            for others in combinations(tasks[1:], size):
                rest = tuple(task for task in tasks[1:] if task not in others)
                for more in partitions(rest, most - 1):
                    yield [(tasks[0], *others), *more]


def compare() -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for name in ("celeba", "taskonomy"):
        affinity = matrix(name)
        for budget in (2, 3, 4):
            found = solve(affinity, budget, overlap=True, objective=GroupingObjective.tag())
            assert found.score is not None
            expected = exhaustive(affinity, budget)
            rows.append(
                {
                    "data": name,
                    "budget": budget,
                    "score": round(found.score, 9),
                    "exhaustive": round(expected, 9),
                    "same": abs(found.score - expected) <= 1e-9 * abs(expected),
                    "networks": "; ".join(
                        "+".join(t + ("" if t in n.served else "*") for t in sorted(n.trained))
                        for n in found.networks
                    ),
                }
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if not DATA.exists():
        raise SystemExit(f"Expected the published tables in {DATA}, but there is no such folder.")
    table = compare()
    table.to_csv("reports/published/tag2021.csv", index=False)
    print(f"tag2021: {table['same'].sum()} of {len(table)} scores the same")
