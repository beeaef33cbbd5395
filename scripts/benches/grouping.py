"""How fast groupings are found: scripts/bench grouping [--peer-seconds 60] [--only PART].

The parts are `peer` (the recursion of published notebooks against `solve`), `solvers` (every
solver, 5 to 20 tasks), `exact` (up to 20 tasks), `large` (100 tasks and more), and `curve` (time
and memory against the number of tasks, each point in a process of its own). Ratios are of processor
time; solvers stop at 60 seconds by the clock.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from itertools import combinations
from math import comb
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import adjusted_rand_score

from affinity.estimates import AffinityMatrix
from affinity.grouping import SOLVERS, Grouping, solve, solve_posterior_samples

OUT = Path("reports/bench/grouping")


def matrix(n_tasks: int, n_blocks: int = 0, noise: float = 1.0, seed: int = 0) -> AffinityMatrix:
    """Standard normal affinities, or blocks of affinity 1 under normal noise."""
    values = np.random.default_rng(seed).standard_normal((n_tasks, n_tasks)) * noise
    if n_blocks:
        values += blocks(n_tasks, n_blocks)[:, None] == blocks(n_tasks, n_blocks)
    return AffinityMatrix(names(n_tasks), torch.tensor(values))


def names(n_tasks: int) -> tuple[str, ...]:
    return tuple(f"task {index:04d}" for index in range(n_tasks))


def blocks(n_tasks: int, n_blocks: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(np.arange(n_tasks) * n_blocks // n_tasks)


def agreement(found: Grouping, n_tasks: int, n_blocks: int) -> float:
    """Adjusted Rand index with the planted blocks."""
    labels = np.zeros(n_tasks, dtype=int)
    for label, network in enumerate(found.networks):
        for task in network.served:
            labels[int(task.split()[1])] = label
    return float(adjusted_rand_score(blocks(n_tasks, n_blocks), labels))


class Peer:
    """All combinations of at most K of the groups, each task in the best: exhaustive recursion."""

    def __init__(self, affinity: AffinityMatrix, seconds: float) -> None:
        n_tasks = len(affinity.tasks)
        table = affinity.to_frame().to_numpy()
        self.groups: list[list[tuple[int, float]]] = []
        for size in range(1, n_tasks + 1):
            for group in combinations(range(n_tasks), size):
                scores = [
                    float(table[[s for s in group if s != t], t].mean()) if size > 1 else 0.0
                    for t in group
                ]
                self.groups.append(list(zip(group, scores, strict=True)))
        self.none = [-float("inf")] * n_tasks
        self.deadline = time.process_time() + seconds
        self.visited, self.best, self.is_complete = 0, -float("inf"), True

    def search(self, n_networks: int) -> "Peer":
        self._search(0, n_networks, self.none)
        return self

    def _search(self, start: int, left: int, scores: list[float]) -> None:
        for index in range(start, len(self.groups)):
            if not self.visited & 4095 and time.process_time() > self.deadline:
                self.is_complete = False
                return
            self.visited += 1
            now = scores.copy()
            for task, score in self.groups[index]:
                now[task] = max(now[task], score)
            self.best = max(self.best, sum(now))
            if left > 1:
                self._search(index + 1, left - 1, now)
                if not self.is_complete:
                    return


def against_peer(seconds: float) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    affinity = matrix(9)
    n_groups = 2**9 - 1
    for n_networks in (2, 3, 4):
        times: list[float] = []
        for _ in range(5):
            began = time.process_time()
            found = solve(affinity, n_networks, overlap=True)
            times.append(time.process_time() - began)
        began = time.process_time()
        peer = Peer(affinity, seconds).search(n_networks)
        spent = time.process_time() - began
        ours = float(np.median(times))
        nodes = sum(comb(n_groups, size) for size in range(1, n_networks + 1))
        rows.append(
            {
                "tasks": 9,
                "networks": n_networks,
                "ours_seconds": round(ours, 4),
                "optimal": found.is_optimal,
                "peer_seconds": round(spent, 2),
                "peer_visited": peer.visited,
                "peer_share_done": f"{peer.visited / nodes:.2g}",
                "same_score": abs((found.score or 0) - peer.best) < 1e-9
                if peer.is_complete
                else "peer not done",
                "times_faster_at_least": round(spent / ours),
                "times_faster_estimated": round(spent * nodes / peer.visited / ours),
            }
        )
    return pd.DataFrame(rows)


def by_solver() -> pd.DataFrame:
    """Score and processor time of every solver, mean of three random matrices."""
    rows: list[dict[str, object]] = []
    solve(matrix(4), 2)  # imports
    for n_tasks in (5, 8, 10, 12, 14, 16, 20):
        for overlap in (False, True):
            row: dict[str, object] = {"tasks": n_tasks, "overlap": overlap}
            for solver in SOLVERS:
                if solver == "dynamic_programming" and n_tasks > 14:
                    continue
                matrices = [matrix(n_tasks, seed=seed) for seed in range(3)]
                budget = max(2, n_tasks // 3)
                began = time.process_time()
                groupings = [solve(m, budget, overlap=overlap, solver=solver) for m in matrices]
                row[f"{solver}_seconds"] = round((time.process_time() - began) / 3, 4)
                row[f"{solver}_score"] = round(
                    float(np.mean([g.score or 0.0 for g in groupings])), 4
                )
            rows.append(row)
    samples = np.random.default_rng(0).standard_normal((256, 2**9 - 1))
    began = time.process_time()
    solve_posterior_samples(samples, 9, 3)
    spent = round(time.process_time() - began, 4)
    print(f"256 posterior samples of 9 tasks by dynamic programming: {spent} s")
    return pd.DataFrame(rows)


CASES_EXACT = [
    (12, 4, True, 0),
    (16, 4, False, 0),
    (16, 4, True, 0),
    (20, 4, False, 0),
    (20, 4, False, 4),
    (20, 8, False, 0),
    (20, 4, True, 0),
]
CASES_LARGE = [
    (100, 10, 10, 0.1),
    (100, 10, 10, 0.3),
    (100, 10, 10, 0.5),
    (100, 10, 10, 0.7),
    (100, 10, 10, 1.0),
    (100, 10, 0, 1.0),
    (139, 8, 8, 0.3),
    (1000, 20, 20, 0.3),
    (1000, 20, 20, 1.0),
    (1000, 20, 0, 1.0),
]
CURVE = [(n, min(8, max(2, n // 3))) for n in (4, 6, 8, 10, 12, 14, 16, 18, 20, 30, 50, 100)]
CURVE += [(200, 8), (500, 8), (1000, 8)]


def one(
    n_tasks: int, n_networks: int, overlap: bool, n_blocks: int, noise: float
) -> dict[str, object]:
    """Time, gap and peak memory of one case; alone in its process."""
    affinity = matrix(n_tasks, n_blocks, noise)
    solve(matrix(4), 2)  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    found = solve(affinity, n_networks, overlap=overlap)
    seconds, processor = time.perf_counter() - began, time.process_time() - busy
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert found.score is not None
    assert found.gap is not None
    return {
        "tasks": n_tasks,
        "networks": n_networks,
        "overlap": overlap,
        "blocks": n_blocks or "random",
        "noise": noise,
        "solver": found.solver,
        "seconds": round(seconds, 3),
        "processor_seconds": round(processor, 3),
        "score": round(found.score, 4),
        "optimal": found.is_optimal,
        "gap_percent": round(100 * found.gap / abs(found.score), 3),
        "agreement": round(agreement(found, n_tasks, n_blocks), 3) if n_blocks else "",
        "peak_mb": round(after / 1024),
        "more_mb": round((after - before) / 1024),
    }


def alone(*case: object) -> dict[str, object]:
    command = [sys.executable, __file__, "--one", json.dumps(case)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(done.stdout.strip(), flush=True)
    return json.loads(done.stdout)


def draw(curve: pd.DataFrame) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    kinds = np.where(curve["blocks"] == "random", "random", "planted blocks")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, column, label in zip(
        axes,
        ("processor_seconds", "more_mb"),
        ("processor time [s]", "memory beyond the imports [MB]"),
        strict=True,
    ):
        for (overlap, kind), rows in curve.groupby(["overlap", kinds], sort=False):
            sharing = "overlapping" if overlap else "disjoint"
            axis.plot(
                rows["tasks"],
                rows[column].clip(lower=1e-3 if column == "processor_seconds" else 0.5),
                "o-",
                label=f"{sharing}, {kind}",
            )
        axis.set(xscale="log", yscale="log", xlabel="tasks", ylabel=label)
        axis.axvline(20.5, color="0.7", linestyle=":")
    axes[0].annotate("exact to the left", (19, 20.0), ha="right", color="0.4")
    axes[0].legend(fontsize="small")
    figure.savefig(OUT / "curve.png", dpi=150, metadata={"Software": None})


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=["peer", "solvers", "exact", "large", "curve"])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*json.loads(options.one))))
        return
    OUT.mkdir(parents=True, exist_ok=True)
    parts = [options.only] if options.only else ["peer", "solvers", "exact", "large", "curve"]
    for part in parts:
        if part == "peer":
            table = against_peer(options.peer_seconds)
        elif part == "solvers":
            table = by_solver()
        elif part == "exact":
            table = pd.DataFrame(
                [alone(t, k, o, b, 0.5 if b else 1.0) for t, k, o, b in CASES_EXACT]
            )
        elif part == "large":
            table = pd.DataFrame([alone(t, k, False, b, noise) for t, k, b, noise in CASES_LARGE])
        else:
            kinds = [(False, "blocks"), (False, "random"), (True, "random")]
            table = pd.DataFrame(
                [
                    alone(
                        t,
                        k,
                        overlap,
                        k if kind == "blocks" else 0,
                        0.3 if kind == "blocks" else 1.0,
                    )
                    for overlap, kind in kinds
                    for t, k in CURVE
                    if t <= 200 or not overlap
                ]
            )
            draw(table)
        table.to_csv(OUT / f"{part}.csv", index=False)
        print(table.to_string())


if __name__ == "__main__":
    main()
