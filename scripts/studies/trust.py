"""Is it known in advance whether affinity predicts gains? Indicators over the measured tables.

    OMP_NUM_THREADS=1 PYTHONPATH=.:scripts python scripts/studies/trust.py reports/truth

writes reports/trust/trust.csv (one row per table and estimator) and prints, for every indicator,
its rank correlation over the tables with how well affinity predicts gains.
"""

import argparse
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from fidelities import Measured
from fidelities.affinities import mean_of_partners
from fidelities.measure import per_task_spearman
from fidelities.measured import gains_of
from scipy import stats

ESTIMATORS = ("inter-task affinity", "gradient cosine", "held-out affinity")
INDICATORS = ("all_in_one_gain", "agreement_of_runs", "conflict", "share_negative")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of scripts/truth")
    parser.add_argument("--out", type=Path, default=Path("reports/trust"))
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for file in sorted(arguments.folder.glob("*/truth.csv.gz")):
        measured = Measured.read(file.parent)
        rows += [
            _row(measured, name)
            for name in ESTIMATORS
            if len(measured.affinities.get(name, {})) > 1
        ]
    results = pd.DataFrame(rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results.round(4).to_csv(arguments.out / "trust.csv", index=False)
    print(results.round(2).to_string(index=False))
    for estimator, table in results.groupby("estimator", sort=False):
        for indicator in INDICATORS:
            rank = stats.spearmanr(table[indicator], table["fidelity"])
            print(f"{estimator}, {indicator}: {rank.statistic:+.2f} (p = {rank.pvalue:.2f})")


def _row(measured: Measured, estimator: str) -> dict[str, object]:
    """How well one run's affinity predicts gains on a table, and indicators known in advance."""
    gains = gains_of(measured.losses).mean(axis=0)  # group task
    runs = list(measured.affinities[estimator].values())
    off = ~np.eye(len(measured.tasks), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fidelity = [per_task_spearman(mean_of_partners(np.nan_to_num(run)), gains) for run in runs]
        agreement = [
            stats.spearmanr(one[off], other[off], nan_policy="omit").statistic
            for one, other in combinations(runs, 2)
        ]
    conflicts = list(measured.affinities.get("gradient conflict", {}).values())
    return {
        "table": measured.table,
        "estimator": estimator,
        "fidelity": float(np.nanmean(fidelity)),
        "all_in_one_gain": float(gains[-1].mean()),
        "agreement_of_runs": float(np.nanmean(agreement)),
        "conflict": float(np.nanmean([-each[off] for each in conflicts])),
        "share_negative": float(np.nanmean([run[off] < 0 for run in runs])),
    }


if __name__ == "__main__":
    main()
