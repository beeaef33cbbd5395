"""Are planted clusters found among more tasks than can be tried in every group?

    PYTHONPATH=scripts/studies python scripts/studies/planted_more_tasks.py --seeds 2

12 tasks in 4 clusters of 3 and 20 in 5 of 4, all that share or nothing shared: beyond nine tasks a
race proposes candidate groups instead of listing all. Into reports/planted/more_tasks.csv; the same
command goes on where it was stopped, and prints the table.
"""

import argparse

import pandas as pd
import torch
from planted import OUT, grouping_of, markdown, race, rand_index

from affinity import record
from affinity.estimates import GradientCosine, InterTaskAffinity, LabelCorrelation
from affinity.problems import planted

SIZES = ((4, 3), (5, 4))
STRENGTHS = (1.0, 0.0)


def run(n_clusters: int, per_cluster: int, strength: float, seed: int) -> dict[str, object]:
    problem = planted(strength, n_clusters, per_cluster, seed=seed)
    trace = record(problem, every=8, seed=0)
    matrices = {"TAG": InterTaskAffinity()(trace), "cosine": GradientCosine()(trace)}
    free = {**matrices, "label correlation": LabelCorrelation()(problem)}
    return {
        "tasks": len(problem.names),
        "strength": strength,
        "seed": seed,
        **{name: rand_index(grouping_of(each, n_clusters)) for name, each in free.items()},
        **race(problem, list(matrices.values()), seed, n_clusters),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file = OUT / "more_tasks.csv"
    rows = pd.read_csv(file).to_dict(orient="records") if file.exists() else []
    done = {(row["tasks"], row["strength"], row["seed"]) for row in rows}
    for seed in range(arguments.seeds):
        for n_clusters, per_cluster in SIZES:
            for strength in STRENGTHS:
                if (n_clusters * per_cluster, strength, seed) not in done:
                    rows.append(run(n_clusters, per_cluster, strength, seed))
                    pd.DataFrame(rows).to_csv(file, index=False, float_format="%.4g")
    found = pd.DataFrame(rows).rename(columns={"rand": "race"})
    print(markdown(found.sort_values(["tasks", "strength"]).round(2)))


if __name__ == "__main__":
    main()
