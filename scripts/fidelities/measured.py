"""What every group of a table's tasks loses, replicate by replicate."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from affinity.errors import InputError

from .groupings import members


@dataclass(frozen=True, eq=False)
class Foretelling:
    """What the networks of one replicate foretell of groups that are not trained.

    Args:
        gains: ``[group task]``.
        seconds: What that took, their trainings included.
    """

    gains: NDArray[np.float64]
    seconds: float


@dataclass(frozen=True, eq=False)
class Measured:
    """Losses of every group of tasks.

    Args:
        table: Its name.
        tasks: Names.
        losses: ``[replicate group task]``, of the rows that decisions are made on; NaN where the
            group has no such task.
        judging: ``[replicate group task]``, of the rows that judge decisions; the losses
            themselves where replicates draw all rows anew.
        seconds: ``[replicate group]``, time that a training took.
        affinities: ``[source target]`` by estimator and by the replicate of the recorded run; of
            replicate -1 where an estimator looks at the data alone.
        foretold: What networks that are trained anyway foretell, by estimator and by their
            replicate.
        recording: Seconds that the recorded run of a replicate took.
        branches: ``[replicate group task]``, losses at the end of short branches, where groups
            branched on all replicates.
        branch_cost: What a branch costs, in trainings.
    """

    table: str
    tasks: tuple[str, ...]
    losses: NDArray[np.float64]
    judging: NDArray[np.float64]
    seconds: NDArray[np.float64]
    affinities: dict[str, dict[int, NDArray[np.float64]]] = field(default_factory=dict)
    foretold: dict[str, dict[int, Foretelling]] = field(default_factory=dict)
    recording: dict[int, float] = field(default_factory=dict)
    branches: NDArray[np.float64] | None = None
    branch_cost: float = 0.0

    def __post_init__(self) -> None:
        unknown = np.isnan(self.losses) & members(len(self.tasks))
        if unknown.any():
            replicate, group, task = np.argwhere(unknown)[0]
            names = [self.tasks[at] for at in np.flatnonzero(members(len(self.tasks))[group])]
            raise InputError(
                f"Expected a loss of every task of every group of {self.table}, but that of "
                f"{self.tasks[task]!r} in {names}, replicate {replicate}, is missing."
            )

    @property
    def n_replicates(self) -> int:
        """How many replicates were measured."""
        return len(self.losses)

    @property
    def estimators(self) -> set[str]:
        """Those that can be asked on each half: on two runs, or on the data alone."""
        runs = {name: set(found) for name, found in self.affinities.items()}
        runs |= {name: set(found) for name, found in self.foretold.items()}
        return {name for name, found in runs.items() if -1 in found or len(found) > 1}

    @classmethod
    def read(cls, folder: Path) -> "Measured":
        """Read a folder that `scripts/truth` wrote."""
        path = folder / "truth.csv.gz"
        if not path.exists():
            raise InputError(f"Expected {path}, as scripts/truth writes it, but it is missing.")
        losses, seconds, tasks = _read(path)
        affinities, recording = _affinities(folder / "affinities.csv", tasks)
        foretold = _foretold(folder / "foretold.csv.gz", tasks)
        found = cls(folder.name, tasks, losses, losses, seconds, affinities, foretold, recording)
        path = folder / "branches.csv.gz"
        if not path.exists():
            return found
        branches, spent, _ = _read(path)
        if len(branches) < len(losses):
            return found
        cost = spent[:, 1:].mean() / seconds[:, 1:].mean()
        return replace(found, branches=branches[: len(losses)], branch_cost=float(cost))

    @classmethod
    def read_replay(cls, path: Path) -> "Measured":
        """Read groups that someone else measured: 0/1 columns, then validation and test gains."""
        frame = pd.read_csv(path)
        tasks = tuple(name for name in frame.columns if f"{name}.validation" in frame.columns)
        missing = [
            column
            for name in tasks
            for column in (f"{name}.validation", f"{name}.test")
            if column not in frame.columns
        ]
        if len(tasks) < 2 or missing or set(np.unique(frame[list(tasks)])) - {0, 1}:
            raise InputError(
                f"Expected a 0/1 column for each of at least two tasks in {path}, then "
                f"'<task>.validation' and '<task>.test', but got {list(frame.columns)}."
            )
        group = frame[list(tasks)].to_numpy() @ (1 << np.arange(len(tasks)))
        gains = np.full((2, 1, 1 << len(tasks), len(tasks)), np.nan)
        for part, name in enumerate(("validation", "test")):
            gains[part, 0, group] = frame[[f"{task}.{name}" for task in tasks]]
            alone = 1 << np.arange(len(tasks))
            gains[part, 0, alone, np.arange(len(tasks))] = 0.0
        gains[:, :, ~members(len(tasks))] = np.nan
        seconds = np.zeros(gains.shape[1:3])
        return cls(path.name.split(".")[0], tasks, 1 - gains[0], 1 - gains[1], seconds)


def gains_of(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Gains ``[replicate group task]`` over separate training, from losses of that shape.

    .. math:: (L_t^r(\{t\}) - L_t^r(G)) / \overline{L}_t(\{t\})

    paired within the replicate r, in shares of the mean loss of the separate networks.
    """
    n_tasks = losses.shape[-1]
    alone = losses[:, 1 << np.arange(n_tasks), np.arange(n_tasks)]  # replicate task
    return (alone[:, None, :] - losses) / np.nanmean(alone, axis=0)


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Losses ``[replicate group task]``, seconds ``[replicate group]``, and the tasks."""
    rows = pd.read_csv(path, dtype={"network": str})
    tasks = tuple(dict.fromkeys(rows["task"]))
    group, task = _places(rows, tasks)
    numbers = {each: at for at, each in enumerate(sorted(set(rows["replicate"])))}
    replicate = rows["replicate"].map(numbers).to_numpy()
    losses = np.full((len(numbers), 1 << len(tasks), len(tasks)), np.nan)
    losses[replicate, group, task] = rows["evaluation_loss"]
    seconds = np.zeros(losses.shape[:2])
    seconds[replicate, group] = rows["seconds"]
    return losses, seconds, tasks


def _places(
    rows: pd.DataFrame, tasks: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The group and the task of each row."""
    group = np.array([int(mask[::-1], 2) for mask in rows["network"]])
    return group, rows["task"].map({name: at for at, name in enumerate(tasks)}).to_numpy()


def _foretold(path: Path, tasks: tuple[str, ...]) -> dict[str, dict[int, Foretelling]]:
    if not path.exists():
        return {}
    frame = pd.read_csv(path, dtype={"network": str})
    found: dict[str, dict[int, Foretelling]] = {}
    for _, rows in frame.groupby(["estimator", "replicate"]):
        gains = np.full((1 << len(tasks), len(tasks)), np.nan)
        gains[_places(rows, tasks)] = rows["gain"]
        by_run = found.setdefault(str(rows["estimator"].iloc[0]), {})
        told = Foretelling(gains, float(rows["seconds"].iloc[0]))
        by_run[int(rows["replicate"].iloc[0])] = told
    return found


def _affinities(
    path: Path, tasks: tuple[str, ...]
) -> tuple[dict[str, dict[int, NDArray[np.float64]]], dict[int, float]]:
    if not path.exists():
        return {}, {}
    frame = pd.read_csv(path)
    found: dict[str, dict[int, NDArray[np.float64]]] = {}
    for _, rows in frame.groupby(["estimator", "replicate"]):
        square = rows.pivot(index="source", columns="target", values="affinity")
        by_run = found.setdefault(str(rows["estimator"].iloc[0]), {})
        by_run[int(rows["replicate"].iloc[0])] = square.loc[list(tasks), list(tasks)].to_numpy()
    recordings = pd.read_csv(path.with_name("recordings.csv"))
    seconds = zip(recordings["replicate"].tolist(), recordings["seconds"].tolist(), strict=True)
    return found, dict(seconds)
