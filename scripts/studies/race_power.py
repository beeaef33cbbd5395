"""Do races find the gains that they say they find?

    OMP_NUM_THREADS=1 PYTHONPATH=.:scripts python scripts/studies/race_power.py --races 250
    OMP_NUM_THREADS=1 PYTHONPATH=.:scripts python scripts/studies/race_power.py \
        --truth reports/truth reports/truth_left_out --races 10

A race names the smallest gain of the best grouping, over the safer of separate networks and
all-in-one, that its trainings find with a probability of 80 % (`RaceResult.detectable`). A gain
is *found* if the plan is not one of these two and has at least half of the gain. Races run over
simulated tables of gains (clusters, random partners, or a mere effect of size, of random strength
and noise), or over tables measured by scripts/truth, where a race sees half of the replicates and
the other half tells what the plan and the best grouping of the half seen gain. Printed is the share
of gains found by their size relative to the one named, and the ratio at which 80 % are found.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fidelities import Half, Measured
from fidelities.groupings import groupings_of, members
from fidelities.measured import gains_of
from fidelities.ours import matrices_of, measure_on, number_of
from scipy import optimize, special

from affinity.audit import Race
from affinity.audit.race import TrainGroups
from affinity.estimates import AffinityMatrix
from affinity.problems import TrainingResults

BUDGETS = (4, 8, 12)  # trainings per task
WORTH = 0.01  # gains of no more are left out: a race ignores them


@dataclass(frozen=True)
class Simulated:
    """A table of the true gains of every group, and the noise with which trainings show them."""

    kind: str
    gains: np.ndarray  # group task, groups by number; NaN for tasks that are not in the group
    noise: float
    seed: int

    @classmethod
    def draw(cls, seed: int) -> "Simulated":
        """A random table of 4 to 8 tasks."""
        random = np.random.default_rng(seed)
        n_tasks = int(random.integers(4, 9))
        groups = members(n_tasks).astype(float)
        n_partners = np.maximum(groups.sum(axis=1) - 1, 0)[:, None]
        kind = str(random.choice(["clusters", "partners", "size"]))
        effects = random.normal(0, 1, (n_tasks, n_tasks))  # source target
        if kind == "clusters":
            cluster = random.integers(0, 2 + n_tasks // 6, n_tasks)
            effects = np.where(cluster[:, None] == cluster, 1.0, -1.0) + 0.3 * effects
        if kind == "size":
            effects = 0.3 * effects
        np.fill_diagonal(effects, 0.0)
        size = random.normal(0, 1, n_tasks) + random.normal(0, 1)
        gains = groups @ effects / np.sqrt(np.maximum(n_partners, 1))
        gains += size * np.sqrt(n_partners / n_tasks)
        gains = gains * np.exp(random.uniform(np.log(0.003), np.log(0.1)))
        noise = np.exp(random.uniform(np.log(0.005), np.log(0.06)))
        return cls(kind, np.where(groups > 0, gains, np.nan), float(noise), seed)

    def __call__(self, groups: Sequence[frozenset[str]], number: int) -> TrainingResults:
        """Losses of networks on the replicate of this number."""
        names = tuple("abcdefgh"[: self.gains.shape[1]])
        rows = [number_of(group, names) for group in groups]
        random = np.random.default_rng([self.seed, number])
        luck = random.normal(0, 2 * self.noise, len(names))  # of a task, in every network
        each = random.normal(0, self.noise, (len(self.gains), len(names)))
        common = random.normal(0, self.noise / 3, (len(self.gains), 1))
        losses = (1 - self.gains + luck + each + common)[rows]
        return TrainingResults.from_losses(groups, names, torch.from_numpy(losses)[:, None])


def simulated(budget: int, seed: int) -> dict[str, object]:
    """One race over a simulated table."""
    table = Simulated.draw(seed)
    names = tuple("abcdefgh"[: table.gains.shape[1]])
    worth = groupings_of(len(names)).totals(table.gains) / len(names)
    race = Race(trainings=budget * len(names), seed=seed)
    found = outcome(race, names, table, worth, int(worth.argmax()))
    return {"kind": table.kind, "trainings per task": budget, **found}


def measured(table: Measured, networks: int, budget: int, seed: int) -> dict[str, object]:
    """One race over half of the replicates of a measured table."""
    order = np.random.default_rng(seed).permutation(table.n_replicates).tolist()
    seen, judging = order[: len(order) // 2], order[len(order) // 2 :]
    half, names = Half(table, tuple(seen)), table.tasks
    groupings, gains = groupings_of(len(names)), gains_of(table.losses)
    worth = groupings.totals(gains[judging]).mean(axis=0) / len(names)
    best = groupings.best(gains[seen].mean(axis=0), networks)
    race = Race(budget=networks, trainings=budget * len(names), seed=seed)
    train = measure_on(half, range(len(seen)))
    found = outcome(race, names, train, worth, best, matrices_of(half, seed))
    return {"kind": table.table, "networks": networks, "trainings per task": budget, **found}


def outcome(
    race: Race,
    names: tuple[str, ...],
    train: TrainGroups,
    worth: np.ndarray,
    best: int,
    matrices: Sequence[AffinityMatrix] = (),
) -> dict[str, object]:
    """Race; the gain that it names, the one to be found, and that of its plan.

    Args:
        worth: True mean gain of each grouping.
        best: The best grouping.
    """
    groupings = groupings_of(len(names))
    raced = race.over(names, train, matrices)

    def gain_of(name: str) -> float:
        networks = raced.candidate(name).grouping.networks
        return worth[groupings.number(tuple(number_of(n.trained, names) for n in networks))]

    safe = [raced.candidate(name).grouping for name in ("separate", "all-in-one")]
    safer = max(gain_of("separate"), gain_of("all-in-one"))
    gain, plan = float(worth[best] - safer), float(gain_of("plan") - safer)
    return {
        "tasks": len(names),
        "ended": raced.ended,
        "named": raced.detectable[0].gain,
        "gain": gain,
        "plan": plan,
        "found": raced.winner.grouping not in safe and plan >= gain / 2,
    }


def ratio_of(found: pd.DataFrame) -> float:
    """The ratio of true to named gain at which 80 % are found, by a logistic fit."""
    x = np.log(np.asarray(found["gain"] / found["named"]))
    y = np.asarray(found["found"], dtype=float)

    def loss(at: np.ndarray) -> float:
        z = at[0] + at[1] * x
        return float((np.logaddexp(0, z) - y * z).sum())

    level, slope = optimize.minimize(loss, np.array([0.0, 1.0])).x
    return float(np.exp((special.logit(0.8) - level) / slope))


def main() -> None:
    """Race, and print what was found by the ratio of gains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=250, help="tables, or halvings of a truth")
    parser.add_argument("--first", type=int, default=0, help="seed of the first race")
    parser.add_argument("--truth", type=Path, nargs="*", default=[], help="of scripts/truth")
    parser.add_argument("--out", type=Path, help="a CSV file of all races")
    given = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(given.first, given.first + given.races)
    files = [path for folder in given.truth for path in sorted(folder.glob("*/truth.csv.gz"))]
    tables = [Measured.read(path.parent) for path in files]
    if tables:
        rows = [
            measured(table, networks, budget, seed)
            for table in tables
            for networks in (2, 3, len(table.tasks))
            for budget in BUDGETS
            for seed in seeds
        ]
    else:
        rows = [simulated(budget, seed) for budget in BUDGETS for seed in seeds]
    found = pd.DataFrame(rows)
    if given.out:
        found.to_csv(given.out, index=False)
    found = found[found["gain"] > WORTH]
    ratio = found["gain"] / found["named"]
    found["ratio"] = pd.cut(ratio, [0, 0.5, 0.8, 1.25, 2, 4, np.inf])
    for by in ("trainings per task", "kind", "tasks"):
        print(found.groupby([by, "ratio"], observed=True)["found"].agg(["mean", "size"]).round(2))
        for name, part in found.groupby(by):
            print(f"{name}: 80 % are found at {ratio_of(part):.2f} times the gain named")
    print(f"all: {ratio_of(found):.2f}")
    near = found[found["ratio"].cat.codes == 2]
    print(f"between 0.8 and 1.25 times the gain named: {near['found'].mean():.0%} of {len(near)}")
    print(f"plans below the safer choice by more than 1 %: {(found['plan'] < -WORTH).mean():.1%}")


if __name__ == "__main__":
    main()
