"""Past runs: trainings from before a study, as a table."""

from collections import Counter
from math import isnan

import pandas as pd

from affinity.errors import InputError, check_has_columns, check_known
from affinity.training import Job, Result

from .ledger import Added


def read_past_runs(runs: pd.DataFrame, tasks: tuple[str, ...]) -> list[Added]:
    """The runs in a table with the columns run, task and score, and seed if it is known."""
    check_has_columns(runs.columns, ["run", "task", "score"])
    check_known("runs of tasks", map(str, runs["task"]), tasks, "unknown-task")
    if runs["run"].isna().any():
        raise InputError(
            "Expected the name or number of a run in each row, but some are missing: rows with the "
            "same one are tasks that were trained together.",
            "missing-run",
        )
    events: list[Added] = []
    seen: Counter[frozenset[str]] = Counter()
    for run, rows in runs.groupby("run", sort=False):
        names = [str(name) for name in rows["task"]]
        job_id = f"past-{run}"
        if len(set(names)) < len(names):
            raise InputError(f"Expected each task once in run {run!r}.", "duplicate-task")
        group = frozenset(names)
        seeds: set[int] = set()
        if "seed" in runs.columns:
            seeds = {_seed_of(seed, run) for seed in rows["seed"].dropna()}
        if len(seeds) > 1:
            raise InputError(
                f"Expected one seed in run {run!r}, but got {sorted(seeds)}.", "several-seeds"
            )
        seen[group] += 1
        # Without a seed, repeated runs of a group must not get the same one.
        job = Job(job_id, group, seeds.pop() if seeds else -seen[group])
        scores = pd.to_numeric(rows["score"], errors="coerce")
        if (bad := scores.isna() & rows["score"].notna()).any():
            raise InputError(
                f"Expected numbers as scores of run {run!r}, but got "
                f"{rows['score'][bad].iloc[0]!r}.",
                "not-a-number",
            )
        known = {
            name: None if isnan(score) else score
            for name, score in zip(names, map(float, scores), strict=True)
        }
        if any(score is not None for score in known.values()):
            validation = Result.of(job, known).validation
            assert validation is not None
            events.append(Added(job=job, validation=dict(validation)))
    return events


def _seed_of(value: object, run: object) -> int:
    number = pd.to_numeric(pd.Series([value]), errors="coerce").iloc[0]
    if not float(number).is_integer():
        raise InputError(
            f"Expected a whole number as seed of run {run!r}, but got {value!r}. Leave the seed "
            "out where it is not known.",
            "not-a-whole-number",
        )
    return int(number)
