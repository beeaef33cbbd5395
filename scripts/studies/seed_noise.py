"""Seeds and rows: which part of the noise of one training's mean gain is the seed.

    python scripts/studies/seed_noise.py emotions --replicates 8 --sizes 2,3

Every group is trained with two seeds on the rows of each replicate, paired with the single tasks
of the same replicate and seed. The variance between the two seeds is the seed's part of the noise,
the rest is that of the rows. Two seeds on the same rows cost as much as two replicates: they leave
`rows + seed / 2` of the variance, two replicates `(rows + seed) / 2`.
"""

import argparse
from dataclasses import replace
from itertools import combinations

import numpy as np
from averaged_weights import mean_gains
from numpy.typing import NDArray
from truth import problem_of

from affinity.problems import train_networks

OTHER = 1_000_000
BOOTSTRAPS = 1000


def parts(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """The seed's share of the variance, and what two seeds on the same rows leave of it.

    Args:
        gains: ``[seed group replicate]``.
    """
    seed = float(gains.var(axis=0, ddof=1).mean())
    total = float(gains.var(axis=2, ddof=1).mean())
    rows = max(0.0, total - seed)
    return np.array([seed, rows + seed / 2]) / (rows + seed)


def main() -> None:
    """Train the groups with both seeds, and print the parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--sizes", default="2", help="sizes of groups besides one and all")
    parser.add_argument("--targets")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--average-weights", action="store_true")
    given = parser.parse_args()
    settings = {"epochs": 40, "batch_size": 64, "patience": 6, "learning_rate": None}
    shares = {"validation_share": 0.15, "evaluation_share": 0.3, "blocks": None}
    sizes = {"width": None, "depth": None, "exclude": None}
    problem = problem_of(argparse.Namespace(**vars(given), **settings, **shares, **sizes))
    tasks = problem.names
    of_size = sorted({1, *map(int, given.sizes.split(",")), len(tasks)})
    groups = [frozenset(group) for size in of_size for group in combinations(tasks, size)]
    first = [problem.replicate(number) for number in range(given.replicates)]
    second = [replace(each, seed=each.seed + OTHER) for each in first]
    gains = np.array(
        [mean_gains(train_networks(problem, groups, each)) for each in (first, second)]
    )
    random = np.random.default_rng(0)
    drawn = random.integers(0, given.replicates, (BOOTSTRAPS, given.replicates))
    found = parts(gains)
    bounds = np.quantile([parts(gains[:, :, each]) for each in drawn], [0.025, 0.975], axis=0)
    print(f"{problem.name}: {len(groups)} groups, {given.replicates} replicates")
    names = ("the seed's share of the noise", "left by two seeds on the same rows")
    for name, share, low, high in zip(names, found, *bounds, strict=True):
        print(f"{name}: {share:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
