"""Averaged weights: the noise of one training's mean gain with and without them.

    python scripts/studies/averaged_weights.py emotions --replicates 12 --sizes 2,3

The same groups are trained on the same replicates both ways. Noise is the variance over replicates
of a training's mean gain, paired with the single tasks on the same replicate, averaged over groups;
signal is the variance of the groups' mean gains, less that noise. Intervals are bootstrapped over
replicates.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from truth import problem_of

from affinity.problems import TrainingResults, train_networks

BOOTSTRAPS = 300


@dataclass(frozen=True)
class Noise:
    """Variance over replicates, variance over groups, and mean loss relative to a scale."""

    noise: float
    signal: float
    loss: float


def mean_gains(results: TrainingResults, rows: Sequence[int] | slice = slice(None)) -> np.ndarray:
    """``[group replicate]``: of the groups of several tasks, on some replicates."""
    losses = np.asarray(results.evaluation_loss, dtype=float)[:, rows]  # network replicate task
    members = [np.array([task in each for task in results.tasks]) for each in results.networks]
    alone = np.empty(losses.shape[1:])
    for network, inside in enumerate(members):
        if inside.sum() == 1:
            alone[:, inside] = losses[network][:, inside]
    return np.array(
        [
            ((alone - losses[network]) / np.abs(alone.mean(0)))[:, inside].mean(1)
            for network, inside in enumerate(members)
            if inside.sum() > 1
        ]
    )


def noise_of(results: TrainingResults, rows: Sequence[int], scale: np.ndarray) -> Noise:
    """Noise, signal and losses on some replicates; `scale` is a loss of each task."""
    gains = mean_gains(results, rows)
    noise = gains.var(1, ddof=1).mean()
    losses = np.asarray(results.evaluation_loss, dtype=float)[:, rows].mean(1) / scale
    inside = np.array([[task in each for task in results.tasks] for each in results.networks])
    return Noise(
        float(noise),
        float(gains.mean(1).var(ddof=1) - noise / len(rows)),
        float(losses[inside].mean()),
    )


def main() -> None:
    """Train the groups both ways, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--sizes", default="2", help="sizes of groups besides one and all")
    parser.add_argument("--targets")
    parser.add_argument("--rows", type=int)
    given = parser.parse_args()
    settings = {"epochs": 40, "batch_size": 64, "patience": 6, "learning_rate": None}
    shares = {"validation_share": 0.15, "evaluation_share": 0.3, "blocks": None}
    sizes = {"width": None, "depth": None, "exclude": None, "average_weights": False}
    problem = problem_of(argparse.Namespace(**vars(given), **settings, **shares, **sizes))
    tasks = problem.names
    of_size = sorted({1, *map(int, given.sizes.split(",")), len(tasks)})
    groups = [frozenset(group) for size in of_size for group in combinations(tasks, size)]
    replicates = [problem.replicate(seed) for seed in range(given.replicates)]
    measured: list[TrainingResults] = []
    for average in (False, True):
        start = time.process_time()
        chosen = replace(problem.settings, average_weights=average)
        measured.append(train_networks(problem.with_settings(chosen), groups, replicates))
        name = "averaged" if average else "raw"
        print(f"{name}: {len(groups)} groups, {time.process_time() - start:.1f} s", flush=True)
    losses = np.asarray(measured[0].evaluation_loss, dtype=float)
    place = {next(iter(each)): n for n, each in enumerate(measured[0].networks) if len(each) == 1}
    scale = np.array([losses[place[task], :, n].mean() for n, task in enumerate(tasks)])

    def ratios(rows: Sequence[int]) -> tuple[float, float]:
        raw, averaged = (noise_of(each, rows, scale) for each in measured)
        return averaged.noise / raw.noise, averaged.loss / raw.loss

    random = np.random.default_rng(0)
    drawn = [random.integers(0, given.replicates, given.replicates) for _ in range(BOOTSTRAPS)]
    every = range(given.replicates)
    bounds = np.quantile(
        [ratios(list(r)) for r in drawn if len(set(r)) > 3], [0.025, 0.975], axis=0
    )
    for what, ratio, low, high in zip(("noise", "loss"), ratios(every), *bounds, strict=True):
        print(f"{what}, averaged / raw: {ratio:.3f} ({low:.3f} to {high:.3f})")
    for what, each in zip(("raw", "averaged"), measured, strict=True):
        found = noise_of(each, every, scale)
        print(f"noise / signal, {what}: {found.noise / found.signal:.1f}")


if __name__ == "__main__":
    main()
