"""Which feedback signals should share a network? With torch-rechub's MMoE, in time order."""

import sys

import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy
from torch_rechub.basic.features import SparseFeature
from torch_rechub.models.multi_task import MMOE, SharedBottom

import affinity

TASKS = ("is_click", "long_view", "is_comment", "is_profile_enter", "is_like_not_hate")
log = pd.read_csv(sys.argv[1]).sort_values("time_ms").tail(20_000)  # oldest impressions first
log["length"] = pd.qcut(log["duration_ms"], 20, labels=False, duplicates="drop")
log["hour"] = log["hourmin"] // 100
codes = {name: pd.factorize(log[name])[0] for name in ("user_id", "video_id", "length", "hour")}
first_test, first_validation = int(0.8 * len(log)), int(0.7 * len(log))


def train(tasks, seed):
    """One network for `tasks`; trained on the past, judged by AUC on what came later."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    inputs = {name: torch.from_numpy(code) for name, code in codes.items()}
    features = [SparseFeature(name, int(code.max()) + 1, 8) for name, code in codes.items()]
    settings = [{"dims": [16], "dropout": 0.1}] * len(tasks)
    kinds = ["classification"] * len(tasks)
    expert = {"dims": [32], "dropout": 0.1}
    if len(tasks) > 1:
        model = MMOE(features, kinds, n_expert=3, expert_params=expert, tower_params_list=settings)
    else:
        model = SharedBottom(features, kinds, expert, settings)
    labels = torch.from_numpy(log[list(tasks)].to_numpy().copy()).float()
    random = torch.Generator().manual_seed(seed)
    past = torch.randperm(first_validation, generator=random)[: int(0.8 * first_validation)]
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-5)
    for _ in range(2):
        for rows in past[torch.randperm(len(past), generator=random)].split(256):
            optimizer.zero_grad()
            predicted = model({name: values[rows] for name, values in inputs.items()})
            binary_cross_entropy(predicted, labels[rows]).backward()
            optimizer.step()
    model.eval()

    def scores(rows):
        with torch.no_grad():
            predicted = model({name: values[rows] for name, values in inputs.items()})
        return {t: roc_auc_score(labels[rows, k], predicted[:, k]) for k, t in enumerate(tasks)}

    later = scores(slice(first_validation, first_test))
    return affinity.Scores(validation=later, test=scores(slice(first_test, None)))


if __name__ == "__main__":
    study = affinity.Study("runs/ranker", dict.fromkeys(TASKS, "maximize"), budget=3, trainings=20)
    study.run(train, workers=2)
    audit = study.audit(train, replicates=4, workers=2)
    affinity.write_report(audit, "runs/ranker/report.html")
