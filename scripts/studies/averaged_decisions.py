"""Averaged weights: what decisions gain from trainings with them, on truths with and without.

    python scripts/studies/averaged_decisions.py reports/truth_left_out reports/truth_averaged

Every table of the second folder, which `scripts/truth --average-weights` made, is compared with the
same table of the first: the same networks on the same replicates. Methods decide and are judged as
in `scripts/fidelity`, from trainings alone; intervals draw the same replicates for both.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from fidelities.groupings import groupings_of
from fidelities.half import Half
from fidelities.kept import measure_missing
from fidelities.measure import Judged
from fidelities.measured import Measured, gains_of
from fidelities.methods import METHODS
from fidelities.ours import RaceResult
from fidelities.report import markdown
from fidelities.shares import DRAWS, Shares, harm, shares
from fidelities.simple import AllInOne
from numpy.typing import NDArray

DECIDED = (
    "race, 4T trainings",
    "race, 8T trainings",
    "race, 12T trainings",
    "size alone, 4T trainings",
    "raw best, 3 replicates",
    "raw best, all replicates",
    "random",
)
WORTHWHILE = 0.01


@dataclass(frozen=True)
class WithinOne:
    """A race that is not run where one network is allowed: all-in-one is the only choice."""

    race: RaceResult

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The groups chosen."""
        return self.race(half, budget, seed) if budget > 1 else AllInOne()(half, budget, seed)


def read(folder: Path) -> Measured:
    """A table's trainings alone: no recorded run, no branch."""
    measured = Measured.read(folder)
    return replace(measured, affinities={}, foretold={}, recording={}, branches=None)


def losses(raw: Measured, averaged: Measured) -> dict[str, str]:
    """Mean losses and noise, averaged over raw, and what a training costs."""
    n_tasks = len(raw.tasks)
    groupings = groupings_of(n_tasks)
    alone = raw.losses[:, 1 << np.arange(n_tasks), np.arange(n_tasks)].mean(axis=0)
    relative: list[dict[str, float]] = []
    for each in (raw, averaged):
        scaled = (each.losses / alone).mean(axis=0)  # group task
        total = groupings.totals(-scaled[None])[0] / -n_tasks
        gains = gains_of(each.losses)  # replicate group task
        mean_gain = np.nanmean(gains[:, groups_of_several(n_tasks)], axis=2)  # replicate group
        relative.append(
            {
                "separate": float(np.diag(scaled[1 << np.arange(n_tasks)]).mean()),
                "all-in-one": float(scaled[-1].mean()),
                "best grouping": float(total.min()),
                "noise variance": float(mean_gain.var(axis=0, ddof=1).mean()),
                "seconds": float(each.seconds[:, 1:].mean()),
            }
        )
    return {name: f"{relative[1][name] / relative[0][name]:.3f}" for name in relative[0]}


def groups_of_several(n_tasks: int) -> NDArray[np.int64]:
    """The groups of two and more tasks."""
    return np.array([group for group in range(1 << n_tasks) if group.bit_count() > 1])


def compared(judged: Sequence[tuple[Judged, Judged]]) -> tuple[list[dict[str, object]], int, int]:
    """Shares and gains of each method, raw and averaged; how many cases each is the mean of."""
    every: list[tuple[Shares, Shares]] = []
    worthwhile: list[tuple[Judged, Judged, int]] = []
    for pair in judged:
        for budget in pair[0].budgets[1:]:
            both = shares(pair[0], budget), shares(pair[1], budget)
            if all(each.is_choice for each in both):
                every.append(both)
            best = [harm(a, b.best, budget)[0] for a, b in zip(pair, both, strict=True)]
            if max(best) > WORTHWHILE:
                worthwhile.append((*pair, budget))
    rows: list[dict[str, object]] = []
    for method in dict.fromkeys(name for name, _ in judged[0][0].choices):
        of_share = [_mean(every, method, signs) for signs in ((1, 0), (0, 1), (-1, 1))]
        of_gain = _gains(worthwhile, method)
        worst = [
            min(
                100 * harm(pair[which], method, budget)[0]
                for pair in judged
                for budget in pair[0].budgets[1:]
            )
            for which in (0, 1)
        ]
        rows.append(
            {
                "method": method,
                "share, raw and averaged": f"{of_share[0][0]:+.2f} and {of_share[1][0]:+.2f}",
                "more": "{:+.2f} ({:+.2f} to {:+.2f})".format(*of_share[2]),
                "gain in %": f"{of_gain[0]:.2f} and {of_gain[1]:.2f}",
                "more gain": "{:+.2f} ({:+.2f} to {:+.2f})".format(*of_gain[2:]),
                "worst in %": f"{worst[0]:+.1f} and {worst[1]:+.1f}",
            }
        )
    return rows, len(every), len(worthwhile)


def _gains(cases: Sequence[tuple[Judged, Judged, int]], method: str) -> list[float]:
    """Mean gain over the safe choice, raw and averaged, and its difference with a 95 % interval."""
    by_replicate: dict[str, list[NDArray[np.float64]]] = {}
    for *pair, budget in cases:
        gains: list[NDArray[np.float64]] = []
        for each in pair:
            safe = [each.choices[name, budget].gains for name in ("all-in-one", "separate")]
            gains.append(each.choices[method, budget].gains - max(safe, key=np.mean))
        by_replicate.setdefault(pair[0].table, []).append(100 * np.array(gains))
    if not by_replicate:
        return [np.nan] * 5
    totals = np.zeros((2, DRAWS + 1))
    for gains in by_replicate.values():
        total = np.sum(gains, axis=0)  # world replicate
        count = total.shape[1]
        drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
        totals += np.column_stack([total.mean(axis=1), total[:, drawn].mean(axis=2)])
    raw, averaged = totals / len(cases)
    bounds = np.quantile((averaged - raw)[1:], [0.025, 0.975])
    return [float(raw[0]), float(averaged[0]), float(averaged[0] - raw[0]), *map(float, bounds)]


def _mean(
    every: Sequence[tuple[Shares, Shares]], method: str, signs: tuple[int, int]
) -> tuple[float, float, float]:
    """Signed sum of the two shares, mean over tables, with a 95 % interval."""
    by_table: dict[str, list[NDArray[np.float64]]] = {}
    for both in every:
        of_both = [
            np.append(
                each.share[each.methods.index(method)], each.draws[each.methods.index(method)]
            )
            for each in both
        ]
        by_table.setdefault(both[0].table, []).append(np.dot(signs, of_both))
    if not by_table:
        return (np.nan, np.nan, np.nan)
    mean = np.mean([np.mean(own, axis=0) for own in by_table.values()], axis=0)
    low, high = np.quantile(mean[1:], [0.025, 0.975])
    return float(mean[0]), float(low), float(high)


def main() -> None:
    """Judge both, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("averaged", type=Path)
    parser.add_argument("--tables", default="", help="only these")
    parser.add_argument("--methods", default="", help="only these, separated by ';'")
    parser.add_argument("--halvings", type=int, default=12)
    parser.add_argument("--kept", type=Path, required=True, help="keep judgements here")
    given = parser.parse_args()
    chosen = given.methods.split(";") if given.methods else list(DECIDED)
    methods = {name: METHODS[name] for name in ("all-in-one", "separate", *chosen)}
    for name, method in methods.items():
        if isinstance(method, RaceResult):
            methods[name] = WithinOne(method)
    judged: list[tuple[Judged, Judged]] = []
    ratios: list[dict[str, object]] = []
    names = (
        given.tables.split(",")
        if given.tables
        else sorted(path.parent.name for path in given.averaged.glob("*/truth.csv.gz"))
    )
    for name in names:
        raw, averaged = read(given.raw / name), read(given.averaged / name)
        assert raw.losses.shape == averaged.losses.shape
        ratios.append({"table": name, **losses(raw, averaged)})
        pair = [
            measure_missing(
                each, methods, given.halvings, 0, given.kept / which / f"{name}.json", [], []
            )
            for which, each in (("raw", raw), ("averaged", averaged))
        ]
        judged.append((pair[0], pair[1]))
    rows, n_choices, n_worthwhile = compared(judged)
    print(markdown(pd.DataFrame(ratios)))
    print(f"\n{len(names)} tables, {n_choices} cases with a choice, {n_worthwhile} with a gain\n")
    print(markdown(pd.DataFrame(rows)))
    print(json.dumps({"tables": names, "halvings": given.halvings}))


if __name__ == "__main__":
    main()
