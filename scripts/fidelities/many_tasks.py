"""Replays of tables of many tasks: only groups that were measured are candidates."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import RidgeCV

from affinity.errors import InputError
from affinity.estimates import CalibratedGains, CandidateGroup, GroupScores
from affinity.grouping import solve
from affinity.problems import TrainingResults

MOST_LISTED = 12
"""Tables of up to this many tasks are replayed with every group in one array."""

STRENGTHS = np.logspace(-4, 2, 13)


@dataclass(frozen=True, eq=False)
class MeasuredGroups:
    """The groups of a table that were measured once, and their gains.

    Args:
        tasks: The tasks.
        member: ``[group task]``; each task alone comes first.
        validation: ``[group task]``; gains to decide by, NaN for tasks that are not in the group.
        test: The same, to judge by.
    """

    tasks: tuple[str, ...]
    member: NDArray[np.bool_]
    validation: NDArray[np.float64]
    test: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "MeasuredGroups":
        """Read a table: a 0/1 column per task, then ``<task>.validation`` and ``<task>.test``."""
        frame = pd.read_csv(path)
        tasks = tuple(name for name in frame.columns if f"{name}.validation" in frame.columns)
        if missing := [f"{task}.test" for task in tasks if f"{task}.test" not in frame.columns]:
            raise InputError(f"Expected the columns {missing} in {path}, but they are missing.")
        member = frame[list(tasks)].to_numpy().astype(bool)
        shared = member.sum(axis=1) > 1
        if not shared.any():
            raise InputError(f"Expected groups of several tasks in {path}, but there are none.")
        alone = np.eye(len(tasks), dtype=bool)
        gains: list[NDArray[np.float64]] = []
        for part in ("validation", "test"):
            measured = frame[[f"{task}.{part}" for task in tasks]].to_numpy(dtype=float)[shared]
            shown = np.where(member[shared], measured, np.nan)
            gains.append(np.concatenate([np.where(alone, 0.0, np.nan), shown]))
        return cls(tasks, np.concatenate([alone, member[shared]]), *gains)


def count_tasks(path: Path) -> int:
    """The number of tasks of a table for a replay."""
    columns = pd.read_csv(path, nrows=0).columns
    return sum(f"{name}.validation" in columns for name in columns)


def replay(path: Path, draws: int, seed: int = 0) -> list[dict[str, object]]:
    """What methods choose from the groups that they measure, with any number of networks.

    Each draw measures as many random groups as cost 4T trainings, each task alone among them. The
    share is relative to random groupings of the measured groups and to the best known one: the
    largest mean gain of a method. Spearman is that of predicted with test gains over the groups
    that were not measured, within each task.
    """
    table = MeasuredGroups.read(path)
    n_tasks = len(table.tasks)
    rows: dict[str, list[tuple[float, float, float]]] = {"random": []}
    for draw in range(draws):
        generator = np.random.default_rng([seed, draw])
        shared = np.arange(n_tasks, len(table.member))
        count = min(3 * n_tasks, len(shared))
        used = np.concatenate([np.arange(n_tasks), generator.choice(shared, count, replace=False)])
        unused = np.setdiff1d(shared, used)
        rows["random"].append((_random_gain(table, generator), np.nan, 0.0))
        for name, predict in METHODS.items():
            if name == BEST and draw > 0:
                continue  # it does not draw
            began = time.process_time()
            predicted = predict(table, used)
            seconds = time.process_time() - began
            correlation = _spearman(predicted[unused], table.test[unused])
            rows.setdefault(name, []).append((_chosen_gain(table, predicted), correlation, seconds))
    means = {name: np.mean(found, axis=0) for name, found in rows.items()}
    chance, best = means["random"][0], max(mean[0] for mean in means.values())
    return [
        {
            "table": path.name.split(".")[0],
            "method": name,
            "attained_share": round(float((gain - chance) / (best - chance)), 4),
            "gain": round(float(gain), 4),
            "per_task_spearman": round(float(correlation), 4),
            "trainings": {BEST: len(table.member), "random": 0}.get(name, n_tasks + count),
            "seconds": round(float(seconds), 2),
        }
        for name, (gain, correlation, seconds) in means.items()
    ]


def _everything(table: MeasuredGroups, _: NDArray[np.int64]) -> NDArray[np.float64]:
    return table.validation


def _calibrated(table: MeasuredGroups, used: NDArray[np.int64]) -> NDArray[np.float64]:
    names = np.array(table.tasks, dtype=object)
    networks = [frozenset(names[table.member[group]]) for group in used]
    losses = torch.from_numpy(1 - table.validation[used])[:, None]
    predictor = CalibratedGains()(TrainingResults.from_losses(networks, table.tasks, losses))
    return predictor.mean(torch.from_numpy(table.member)).numpy()


def _ridge_by_target(table: MeasuredGroups, used: NDArray[np.int64]) -> NDArray[np.float64]:
    predicted = np.where(table.member, 0.0, np.nan)
    shared = used[table.member[used].sum(axis=1) > 1]
    for task in range(len(table.tasks)):
        known = shared[table.member[shared, task]]
        rows = table.member[:, task] & (table.member.sum(axis=1) > 1)
        if len(known) > 2:
            fit = RidgeCV(STRENGTHS).fit(table.member[known], table.validation[known, task])
            predicted[rows, task] = fit.predict(table.member[rows])
    return predicted


def _size_alone(table: MeasuredGroups, used: NDArray[np.int64]) -> NDArray[np.float64]:
    size = table.member.sum(axis=1, dtype=float)
    return _pooled(table, used, np.repeat(size[:, None, None], len(table.tasks), axis=1))


def _sources_alone(table: MeasuredGroups, used: NDArray[np.int64]) -> NDArray[np.float64]:
    partners = table.member[:, None, :] & ~np.eye(len(table.tasks), dtype=bool)
    count = np.maximum(1, partners.sum(axis=2, keepdims=True))
    return _pooled(table, used, partners / count)


def _pooled(
    table: MeasuredGroups, used: NDArray[np.int64], features: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One ridge regression for all tasks on features ``[group task feature]``."""
    shared = table.member.sum(axis=1) > 1
    known = np.zeros_like(table.member)
    known[used] = table.member[used]
    known[~shared] = False
    fit = RidgeCV(STRENGTHS).fit(features[known], table.validation[known])
    predicted = np.where(table.member, 0.0, np.nan)
    rows = table.member & shared[:, None]
    predicted[rows] = fit.predict(features[rows])
    return predicted


BEST = "every measured group"
METHODS = {
    BEST: _everything,
    "calibrated gains, 4T trainings": _calibrated,
    "ridge, 4T trainings": _ridge_by_target,
    "size alone, 4T trainings": _size_alone,
    "sources alone, 4T trainings": _sources_alone,
}


def _chosen_gain(table: MeasuredGroups, predicted: NDArray[np.float64]) -> float:
    """Mean test gain over the tasks of the best grouping by predicted gains."""
    names = table.tasks
    candidates = tuple(
        CandidateGroup({names[task]: float(scores[task]) for task in np.flatnonzero(member)})
        for member, scores in zip(table.member, predicted, strict=True)
    )
    chosen = solve(GroupScores(names, candidates), len(names), time_limit=20.0)
    row_of = {candidate.trained: row for row, candidate in enumerate(candidates)}
    rows = [row_of[network.trained] for network in chosen.networks]
    return float(np.nansum(table.test[rows]) / len(names))


def _random_gain(table: MeasuredGroups, generator: np.random.Generator) -> float:
    """Mean test gain of random groupings: measured groups in random order, as far as they fit."""
    gains: list[float] = []
    for _ in range(20):
        is_free, rows = np.ones(len(table.tasks), dtype=bool), list[int]()
        for row in generator.permutation(len(table.member)):
            if not (table.member[row] & ~is_free).any():
                rows.append(row)
                is_free &= ~table.member[row]
        gains.append(float(np.nansum(table.test[rows]) / len(table.tasks)))
    return float(np.mean(gains))


def _spearman(predicted: NDArray[np.float64], gains: NDArray[np.float64]) -> float:
    """Mean over the tasks; NaN where no task has predictions that differ."""
    found: list[float] = []
    for ours, theirs in zip(predicted.T, gains.T, strict=True):
        known = np.isfinite(ours) & np.isfinite(theirs)
        if known.sum() > 2 and np.ptp(ours[known]) > 1e-12 and np.ptp(theirs[known]) > 0:
            found.append(float(stats.spearmanr(ours[known], theirs[known]).statistic))
    return float(np.mean(found)) if found else float("nan")
