"""Landmine fields: do affinities find the two known clusters, and does the split pay?

python scripts/studies/landmine.py --seeds 3
"""

import argparse
import random
import sys
import warnings
from dataclasses import replace

import pandas as pd
import torch
from intervals import ROOT, interval, markdown
from planted import FROM_A_TRACE, contrast
from sklearn.metrics import adjusted_rand_score

from affinity.estimates import AffinityMatrix, LabelOverlap, combine, measured_gains, seed_to_seed
from affinity.grouping import solve
from affinity.problems import Problem, load_table, record, train_networks

OUT = ROOT / "reports/landmine"
TABLE = ROOT.parent / "shared/data/tables/landmine.csv.gz"
FIRST = 15  # fields 1 to 15 are foliated ground, 16 to 29 bare earth or desert


def cluster_of(name: str) -> str:
    return "foliated" if int("".join(filter(str.isdigit, name))) <= FIRST else "bare"


def rand_index(matrix: AffinityMatrix) -> float:
    """Of the best two groups."""
    values = (matrix.values - matrix.values.nan_to_num(nan=0.0).min()).nan_to_num(nan=0.0)
    grouping = solve(AffinityMatrix(matrix.tasks, values), budget=2, time_limit=10.0)
    label = {task: n for n, network in enumerate(grouping.networks) for task in network.served}
    truth = [cluster_of(task) for task in matrix.tasks]
    return float(adjusted_rand_score(truth, [label[task] for task in matrix.tasks]))


def estimates(problem: Problem, seeds: int) -> pd.DataFrame:
    truth = [cluster_of(name) for name in problem.names]
    traces = [record(problem, every=10, held_out=True, seed=seed) for seed in range(seeds)]
    rows = []
    for method, estimator in FROM_A_TRACE.items():
        matrices = [estimator(trace) for trace in traces]
        areas = pd.Series([contrast(each.values.double().numpy(), truth) for each in matrices])
        rands = pd.Series([rand_index(each) for each in matrices])
        together = combine(matrices)
        rows.append(
            {
                "method": method,
                "AUC of pairs, one run": interval(areas)["mean"],
                "half": interval(areas)["half"],
                "AUC, all runs": contrast(together.values.double().numpy(), truth),
                "Rand, one run": rands.mean(),
                "Rand, all runs": rand_index(together),
                "seed to seed": seed_to_seed(traces, estimator).parts,
            }
        )
    return pd.DataFrame(rows)


def worth(problem: Problem, replicates: int) -> pd.DataFrame:
    """Mean gain on test rows of the known split, of random ones of equal sizes, of one network."""
    names = list(problem.names)
    known = [frozenset(n for n in names if cluster_of(n) == kind) for kind in ("foliated", "bare")]
    plans = {"the two clusters": known, "all in one": [frozenset(names)]}
    draw = random.Random(0)
    for number in range(1, 6):
        first = frozenset(draw.sample(names, FIRST))
        plans[f"random halves {number}"] = [first, frozenset(names) - first]
    networks = [frozenset({name}) for name in names] + [n for plan in plans.values() for n in plan]
    measured = train_networks(problem, networks, problem.replicates(replicates))
    gains = 100 * measured_gains(replace(measured, evaluation_loss=measured.test_loss))
    row_of = {network: row for row, network in enumerate(measured.networks)}
    rows = []
    for plan, groups in plans.items():
        parts = torch.stack([gains[row_of[group]] for group in groups])  # network replicate task
        each = interval(pd.Series(parts.nan_to_num().sum(dim=0).mean(dim=1).numpy()))
        rows.append({"plan": plan, "gain": each["mean"], "half": each["half"]})
    return pd.DataFrame(rows)


README = """# Landmine: 29 fields, two known clusters

Fields 1 to 15 lie on foliated ground, 16 to 29 on bare earth or desert. Every field has rows of its
own.

> {overlap}

    {command}

Probability that a pair of one cluster has a higher affinity than one of two (AUC, 0.5 is chance;
mean over {seeds} runs with 95 % t interval, and from all runs together); adjusted Rand index of the
best two groups (1 exact, 0 chance); rank correlation of the matrices of two seeds.

{estimates}

In the committed run the cosine of several runs together finds most of the two clusters, and nothing
else is far from chance: with no shared rows and seeds that do not agree, one run tells nothing.

Gain of the split: mean over fields, against separate networks, in % of the test loss, with
95 % t interval over {replicates} replicates (the test rows are the same).

{worth}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--replicates", type=int, default=3)
    arguments = parser.parse_args()
    if not TABLE.exists():
        sys.exit(f"Expected the landmine table at {TABLE.relative_to(ROOT.parent)}; it is missing.")
    torch.set_num_threads(1)
    OUT.mkdir(parents=True, exist_ok=True)
    problem = load_table(TABLE, task_column="task", target="y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = estimates(problem, arguments.seeds)
    found.to_csv(OUT / "estimates.csv", index=False, float_format="%.4g")
    gains = worth(problem, arguments.replicates)
    gains.to_csv(OUT / "gains.csv", index=False, float_format="%.4g")
    shown = found.assign(half=found["half"].map("± {:.2f}".format)).round(2)
    (OUT / "README.md").write_text(
        README.format(
            overlap=str(LabelOverlap.of(problem)),
            command=f"python scripts/studies/landmine.py --seeds {arguments.seeds}"
            f" --replicates {arguments.replicates}",
            seeds=arguments.seeds,
            replicates=arguments.replicates,
            estimates=markdown(shown),
            worth=markdown(gains.round(2)),
        )
    )


if __name__ == "__main__":
    main()
