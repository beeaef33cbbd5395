"""Which targets of a table should share a random forest? No gradients, no networks."""

import sys

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score

import affinity

table = pd.read_csv(sys.argv[1])
targets = sys.argv[2:]
features = table.drop(columns=targets).select_dtypes("number").fillna(0.0).to_numpy()
is_test = np.random.default_rng(0).random(len(table)) < 0.3  # the same rows for every seed


def train(tasks, seed):
    """One forest that predicts all `tasks`; the score is R²."""
    random = np.random.default_rng([seed, 1])  # independent of the test rows
    role = np.where(
        is_test, 2, random.random(len(table)) < 0.25
    )  # 0 training, 1 validation, 2 test
    labels = table[list(tasks)].to_numpy()
    is_known = ~np.isnan(labels)
    means = np.nanmean(labels[role == 0], axis=0)
    known = np.where(is_known, labels, means)  # a forest needs all targets of a training row
    rows = (role == 0) & is_known.any(axis=1)
    forest = RandomForestRegressor(60, min_samples_leaf=3, max_features=0.5, random_state=seed)
    forest.fit(features[rows], known[rows].squeeze())

    def scores(rows):
        predicted = forest.predict(features).reshape(-1, len(tasks))
        return {
            task: r2_score(labels[rows & is_known[:, k], k], predicted[rows & is_known[:, k], k])
            for k, task in enumerate(tasks)
        }

    return affinity.Scores(validation=scores(role == 1), test=scores(role == 2))


if __name__ == "__main__":
    study = affinity.Study(
        "runs/forests",
        tasks=dict.fromkeys(targets, "maximize"),
        budget=3,
        trainings=4 * len(targets),
    )
    study.run(train, workers=2)
    print(study.frame())
    audit = study.audit(train, replicates=5, workers=2)
    print(study.plan().to_yaml(), audit.overall.verdict, f"{audit.overall.gain:+.4f}")
    affinity.write_report(audit, "runs/forests/report.html")
