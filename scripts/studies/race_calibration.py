"""Do plans that a race declares best hold on fresh replicates? On tables measured by scripts/truth.

    OMP_NUM_THREADS=1 PYTHONPATH=.:scripts python scripts/studies/race_calibration.py \
        reports/truth --races 4 --out reports/race

A race sees one half of a table's replicates, each in one round, and stops when it is decided. On
the other half its plan *holds* if no other contender (separate networks, all-in-one, and the best
of all groupings by everything measured on the half that was seen) gains more by more than the
tolerance, beyond the noise of that half: a one-sided test at 5 %. The same command goes on where it
was stopped.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from fidelities import Half, Measured
from fidelities.groupings import groupings_of
from fidelities.measured import gains_of
from fidelities.ours import matrices_of, measure_on, number_of
from scipy import stats

from affinity.audit import Race

TOLERANCE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of scripts/truth")
    parser.add_argument("--races", type=int, default=4, help="a table and budget")
    parser.add_argument("--out", type=Path, default=Path("reports/race"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "race_calibration.csv"
    rows = pd.read_csv(file).to_dict(orient="records") if file.exists() else []
    done = {(row["table"], row["budget"], row["race"]) for row in rows}
    for seed in range(arguments.races):
        for path in sorted(arguments.folder.glob("*/truth.csv.gz")):
            measured = Measured.read(path.parent)
            for budget in (3, len(measured.tasks)):
                if (measured.table, budget, seed) not in done:
                    rows.append(_race(measured, budget, seed))
                    pd.DataFrame(rows).to_csv(file, index=False)
    _tell(pd.DataFrame(rows))


def _race(measured: Measured, budget: int, seed: int) -> dict[str, object]:
    order = np.random.default_rng(seed).permutation(measured.n_replicates).tolist()
    seen, judging = order[: len(order) // 2], order[len(order) // 2 :]
    half, names = Half(measured, tuple(seen)), measured.tasks

    most = 2 * len(names) * len(seen) - len(names)  # a round for each replicate at most
    race = Race(budget=budget, trainings=most, tolerance=TOLERANCE, seed=seed)
    raced = race.over(names, measure_on(half, range(len(seen))), matrices_of(half, seed))
    groupings = groupings_of(len(names))
    gains = gains_of(measured.losses)
    worth = groupings.totals(gains[judging]) / len(names)  # replicate grouping
    plan = groupings.number(
        tuple(number_of(n.trained, names) for n in raced.winner.grouping.networks)
    )
    rivals = {
        "separate": int(np.flatnonzero(groupings.sizes == len(names))[0]),
        "all-in-one": int(np.flatnonzero(groupings.sizes == 1)[0]),
        "best of the half that was seen": groupings.best(gains[seen].mean(axis=0), budget),
    }
    behind = {name: worth[:, rival] - worth[:, plan] - TOLERANCE for name, rival in rivals.items()}
    p_value = min(_p_value(difference) for difference in behind.values())
    return {
        "table": measured.table,
        "budget": budget,
        "race": seed,
        "ended": raced.ended,
        "rounds": raced.rounds,
        "trainings": raced.trainings,
        "probability": round(raced.winner.probability, 3),
        "expected": round(raced.winner.gain, 4),
        "low": round(raced.winner.low, 4),
        "high": round(raced.winner.high, 4),
        "gain": round(float(worth[:, plan].mean()), 4),
        "error": round(float(stats.sem(worth[:, plan])), 4),
        **{f"gain of {name}": round(float(worth[:, at].mean()), 4) for name, at in rivals.items()},
        "holds": bool(p_value > 0.05),
    }


def _p_value(differences: np.ndarray) -> float:
    """Of a mean that is not above 0."""
    if np.ptp(differences) == 0:
        return 0.0 if differences.mean() > 0 else 1.0
    return float(stats.ttest_1samp(differences, 0.0, alternative="greater").pvalue)


def _tell(found: pd.DataFrame) -> None:
    decided = found[found["ended"] == "decided"]
    print(found.to_string(index=False))
    print(f"{len(decided)} of {len(found)} races were decided; of those plans,")
    if len(decided):
        held = int(decided["holds"].sum())
        low, high = stats.binomtest(held, len(decided)).proportion_ci(method="wilson")
        print(f"{held} hold: {held / len(decided):.0%} ({low:.0%} to {high:.0%})")
    expected = (found["high"] - found["low"]) / 2 / stats.norm.ppf(0.975)
    width = stats.norm.ppf(0.975) * np.hypot(expected, found["error"])
    inside = (found["gain"] - found["expected"]).abs() <= width + 1e-4
    print(f"{inside.mean():.0%} of gains lie where they are expected, given both halves' noise:")
    print(inside.groupby(found["table"]).mean().map("{:.0%}".format).to_string())


if __name__ == "__main__":
    main()
