"""Drift: affinities, conflicts, gates and labels by day, with alerts where they change."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from affinity.audit import Alert
from affinity.estimates import AffinityMatrix, GradientConflict, GradientCosine
from affinity.recording import Trace

from .daily import RankingRun

FEWEST_MEASUREMENTS = 5
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Period:
    """Affinities of consecutive days.

    Args:
        affinity: Estimated from the measurements of these days.
        conflict: ``[source target]``, fraction of measurements at which gradients conflict.
    """

    first: str
    last: str
    affinity: AffinityMatrix
    conflict: torch.Tensor
    measurements: int


def affinity_by_day(
    run: RankingRun,
    estimator: Callable[[Trace], AffinityMatrix] | None = None,
    fewest: int = FEWEST_MEASUREMENTS,
) -> list[Period]:
    """Affinities by day; days with few measurements are joined with the next ones.

    Args:
        estimator: Gradient cosine if None.
        fewest: The fewest measurements of a period; the rest of a run joins its last period.
    """
    if run.trace is None or run.trace.gramians is None:
        return []
    starts = np.array([day.step for day in run.days])
    place = np.searchsorted(starts, run.trace.steps.numpy(), side="right") - 1
    borders, first = [], 0
    for day in range(len(run.days)):
        if ((place >= first) & (place <= day)).sum() >= fewest:
            borders.append((first, day))
            first = day + 1
    if borders and first < len(run.days):
        borders[-1] = (borders[-1][0], len(run.days) - 1)
    periods: list[Period] = []
    for first, last in borders:
        rows = torch.from_numpy(np.flatnonzero((place >= first) & (place <= last)))
        part = run.trace.at(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=RuntimeWarning)
            affinity = (estimator or GradientCosine())(part)
            conflict = -GradientConflict()(part).values
        names = run.days[first].day, run.days[last].day
        periods.append(Period(*names, affinity, conflict, len(rows)))
    return periods


def find_ranking_alerts(run: RankingRun, fewest: int = FEWEST_MEASUREMENTS) -> list[Alert]:
    """Pairs whose affinity changed sign beyond its error, gates that polarized, and notes."""
    alerts = [*_sign_changes(affinity_by_day(run, fewest=fewest)), *_polarized(run)]
    alerts += [
        Alert(note.code, note.severity, "Note on the log", note.message) for note in run.notes
    ]
    for day in run.days:
        alerts += [
            Alert(note.code, note.severity, f"Note on {day.day}", note.message)
            for note in day.notes
            if note.severity != "note"
        ]
    return alerts


def daily_frame(run: RankingRun) -> pd.DataFrame:
    """One row per day and objective: rates, predictions, metrics, and the weights of its gate."""
    rows: list[dict[str, object]] = []
    for day in run.days:
        for objective in run.objectives:
            metrics = day.metrics.get(objective.name)
            row: dict[str, object] = {
                "day": day.day,
                "objective": objective.name,
                "impressions": day.rows,
                "users": day.users,
                "new_users": day.new_users,
            }
            for name in ("rows", "rate", "predicted", "loss", "auc", "gauc", "ndcg"):
                row[name] = None if metrics is None else getattr(metrics, name)
            if objective.name in day.gates:
                weights = day.utilization[day.gates.index(objective.name)].tolist()
                row |= {f"expert {n}": weight for n, weight in enumerate(weights, start=1)}
                row["polarized"] = objective.name in day.polarized
            rows.append(row)
    return pd.DataFrame(rows)


def _sign_changes(periods: list[Period]) -> Iterator[Alert]:
    """A pair that was above 0 beyond its error, and below it in a later period, or the reverse."""
    if len(periods) < 2:
        return
    tasks = periods[0].affinity.tasks
    for i, source in enumerate(tasks):
        for j, target in enumerate(tasks):
            if i >= j:  # gradient cosine is symmetric
                continue
            last_sign, since = 0, ""
            for period in periods:
                sign = _sign(period, i, j)
                if sign and last_sign and sign != last_sign:
                    value = period.affinity.values[i, j].item()
                    yield Alert(
                        "affinity-changed-sign",
                        "warning",
                        f"“{source}” and “{target}” changed from "
                        + ("help to conflict" if sign < 0 else "conflict to help"),
                        f"Their affinity is {value:+.3f} from {period.first} to {period.last}, and "
                        f"had the other sign in the days to {since}, both beyond their errors. A "
                        "grouping chosen on earlier days may no longer be right.",
                    )
                if sign:
                    last_sign, since = sign, period.last


def _sign(period: Period, i: int, j: int) -> int:
    """The sign of an affinity beyond its error; 0 if it is within it, or unknown."""
    value = period.affinity.values[i, j].item()
    errors, steps = period.affinity.standard_error, period.affinity.n_steps
    if errors is None or steps is None or not steps[i, j] > 1:
        return 0
    quantile = float(stats.t.ppf(0.5 + LEVEL / 2, int(steps[i, j]) - 1))
    error = errors[i, j].item()
    return int(np.sign(value)) if abs(value) > quantile * error else 0


def _polarized(run: RankingRun) -> Iterator[Alert]:
    for task in sorted({task for day in run.days for task in day.polarized}):
        days = [day.day for day in run.days if task in day.polarized]
        ends_so = task in run.days[-1].polarized
        yield Alert(
            "gate-polarized",
            "warning" if ends_so else "note",
            f"The gate of “{task}” polarized",
            f"It gave all experts but one less than a tenth of its weight on {len(days)} of "
            f"{len(run.days)} days, the first {days[0]}, the last {days[-1]}. Most seeds do not "
            "end so: compare another one, or fewer experts.",
        )
