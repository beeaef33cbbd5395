"""The daily job of a video feed: five objectives of the KuaiRand log, trained in the order of time.

python scripts/examples/ranking.py kuairand_log.csv.gz --out runs/ranking
"""

import argparse
from math import isfinite
from pathlib import Path

import pandas as pd
import torch

import affinity
from affinity.ranking import (
    DailyTrainer,
    Impressions,
    RankingObjective,
    RankingSettings,
    compare_weights,
    find_ranking_alerts,
    read_impressions,
    weight_grid,
)

OBJECTIVES = [
    RankingObjective("is_click"),
    RankingObjective("long_view"),
    RankingObjective("seconds_watched", "squared error"),
    RankingObjective("is_profile_enter"),
    RankingObjective("is_like_not_hate", family="satisfaction"),  # dismissed: one minus this
]


def read_log(path: str) -> pd.DataFrame:
    """The log with a few more columns."""
    log = pd.read_csv(path)
    log["seconds_watched"] = log["play_time_ms"] / 1000
    log["length"] = pd.cut(log["duration_ms"], [-1, 5e3, 7e3, 9e3, 12e3, 2e4, 4e4, 8e4, 1e9])
    time = pd.to_datetime(log["time_ms"], unit="ms", utc=True).dt.tz_convert("Asia/Shanghai")
    log["hour"] = time.dt.hour
    # The log begins with a quarter of an hour of the day before, and its own dates are rounded.
    log["day"] = time.dt.strftime("%Y-%m-%d").where(time >= "2022-04-08 00:00+08:00", "2022-04-08")
    return log


def impressions_of(log: pd.DataFrame, objectives=OBJECTIVES, **columns: str) -> Impressions:
    """The log as impressions: hashed identifiers, and one number."""
    return read_impressions(
        log,
        objectives,
        time="time_ms",
        time_unit="ms",
        day="day",
        user="user_id",
        identifiers=["user_id", "video_id", "length", "hour"],
        numbers=["duration_ms"],
        **columns,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("--out", default="runs/ranking", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    impressions = impressions_of(read_log(arguments.log))
    checkpoint = arguments.out / "checkpoint.safetensors"
    last = impressions.day(len(impressions.day_names) - 1)
    for day in range(len(impressions.day_names)):  # what a scheduler does once a day
        if day == len(impressions.day_names) - 1:
            predictions = trainer.model.predict(last)  # before training on it
        trainer = DailyTrainer(RankingSettings(), checkpoint)
        run = trainer.train(impressions, slice(0, day + 1))
        result = run.days[-1]
        aucs = {task: round(m.auc, 3) for task, m in result.metrics.items() if isfinite(m.auc)}
        print(result.day, aucs, flush=True)
    print("mean AUC of tomorrow:", {k: round(v, 4) for k, v in run.mean("auc").items()})
    if run.recording is not None:
        print(f"{run.recording.measurements} measurements, {run.recording.overhead:.1%} overhead")
    for alert in find_ranking_alerts(run):
        print(f"{alert.severity}: {alert.title}. {alert.text}")
    affinity.save(run, arguments.out / "run.safetensors")
    affinity.write_report(run, arguments.out / "report.html")

    # Weights of the score, compared on the last day: another one is needed to judge a choice.
    choices = weight_grid(["is_click", "seconds_watched", "is_like_not_hate"], steps=4)
    front = compare_weights(predictions, last, choices, "ndcg", run.cost)
    print(front.frame().query("efficient").round(3).to_string(index=False))


if __name__ == "__main__":
    main()
