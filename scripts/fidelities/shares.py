"""Attained share and harm: what choices are worth beside random groupings and the best known."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .measure import Judged

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Shares:
    """Every method's attained share on one table within one budget.

    .. math:: (gain - random) / (best known - random)

    Args:
        table: The table.
        budget: At most so many groups.
        methods: Names, in order.
        share: ``[method]``.
        draws: ``[method draw]``; the shares from replicates drawn with replacement, the same
            replicates for all methods.
        best: The method whose choices gained most: the best known.
        is_choice: Whether the best known gains more than random groupings beyond noise.
    """

    table: str
    budget: int
    methods: tuple[str, ...]
    share: NDArray[np.float64]
    draws: NDArray[np.float64]
    best: str
    is_choice: bool


def shares(judged: Judged, budget: int) -> Shares:
    """Attained shares on one table within one budget."""
    methods = tuple(name for name, each in judged.choices if each == budget)
    gains = np.stack([judged.choices[name, budget].gains for name in methods])
    above = gains - judged.random[budget]  # method replicate
    best = int(above.mean(axis=1).argmax())
    count = above.shape[1]
    drawn = np.random.default_rng(0).integers(count, size=(DRAWS, count))
    means = above[:, drawn].mean(axis=2)  # method draw
    with np.errstate(divide="ignore", invalid="ignore"):
        share = above.mean(axis=1) / above[best].mean()
        draws = means / means[best]
    is_choice = budget > 1 and _is_above_noise(above, drawn)  # one group: one grouping
    return Shares(judged.table, budget, methods, share, draws, methods[best], is_choice)


def _is_above_noise(above: NDArray[np.float64], drawn: NDArray[np.int64]) -> bool:
    """Whether any of the methods gains more than random groupings, though the best was picked.

    The largest of many t statistics is beyond 0 without any gain: its 95 % quantile comes from
    replicates drawn with replacement.
    """
    is_same = np.ptp(above, axis=1) < 1e-12  # every replicate alike, as in a replay
    if (above[is_same].mean(axis=1) > 1e-9).any():
        return True
    above = above[~is_same]
    if not len(above):
        return False
    samples = above[:, drawn]  # method draw replicate
    root = np.sqrt(above.shape[1])
    errors = np.maximum(samples.std(axis=2, ddof=1), 1e-12) / root
    largest = ((samples.mean(axis=2) - above.mean(axis=1)[:, None]) / errors).max(axis=0)
    statistic = above.mean(axis=1) / (above.std(axis=1, ddof=1) / root)
    return bool(statistic.max() > np.quantile(largest, 0.95))


def harm(judged: Judged, method: str, budget: int) -> tuple[float, float, float]:
    """Gain less that of the better of all-in-one and separate, and its 95 % interval.

    Separate training counts where the budget allows it. Below 0 does harm.
    """
    safe = [judged.choices[name, budget].gains for name in ("all-in-one", "separate")]
    better = max(safe, key=np.mean)
    difference = judged.choices[method, budget].gains - better
    return float(difference.mean()), *interval(difference)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Student's 95 % interval of the mean, replicate by replicate."""
    count = len(values)
    if count < 2:
        return float("nan"), float("nan")
    error = values.std(ddof=1) / np.sqrt(count)
    reach = float(stats.t.ppf(0.975, count - 1) * error)
    return float(values.mean()) - reach, float(values.mean()) + reach


def rows(judged: Judged) -> list[dict[str, object]]:
    """One row for each method and budget, as ``scripts/fidelity --json`` prints them.

    The share and its interval are None where there is nothing to choose: a budget of one
    group, or no method gains more than random groupings beyond noise.
    """
    found: list[dict[str, object]] = []
    for budget in judged.budgets:
        here = shares(judged, budget)
        for at, method in enumerate(here.methods):
            choices = judged.choices[method, budget]
            low, high = np.quantile(here.draws[at], [0.025, 0.975])
            gain, harm_low, harm_high = harm(judged, method, budget)
            found.append(
                {
                    "table": judged.table,
                    "method": method,
                    "budget": budget,
                    "attained_share": _number(here.share[at]) if here.is_choice else None,
                    "low": _number(low) if here.is_choice else None,
                    "high": _number(high) if here.is_choice else None,
                    "harm": _number(gain),
                    "harm_low": _number(harm_low),
                    "harm_high": _number(harm_high),
                    "per_task_spearman": _number(choices.spearman),
                    "ceiling": _number(judged.ceiling),
                    "trainings": round(choices.trainings, 1),
                    "seconds": round(choices.seconds, 2),
                }
            )
    return found


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
