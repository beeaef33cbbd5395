"""Two audits side by side: before and after, two estimators, two seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
from markupsafe import Markup
from scipy import stats

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.grouping import Grouping
from affinity.statistics import Gains
from affinity.storage import to_jsonable
from affinity.words import count

from .drawing import inline_svg
from .gain_dots import GainDots
from .network_rows import network_rows
from .numbers import NARROW, number, percent, percent_range
from .rendering import Figure, render, tone
from .result import result_of


@dataclass(frozen=True)
class Pair:
    """Two tasks that one of two groupings serves together and the other does not."""

    first: str
    second: str
    is_new: bool


def write_comparison(
    first: Audit, second: Audit, path: str | Path, names: tuple[str, str] = ("first", "second")
) -> Path:
    """Write one page that compares two audits of the same tasks, and return where it is.

    Args:
        first: The audit to start from.
        second: The audit to compare with it.
        path: The HTML file.
        names: What to call them.

    Raises:
        InputError: If they have no task in common, or the file cannot be written.
    """
    return write_atomically(path, comparison_of(first, second, names))


def comparison_of(first: Audit, second: Audit, names: tuple[str, str] = ("first", "second")) -> str:
    """The page as text."""
    other = set(second.gains.tasks)
    shared = [task for task in first.gains.tasks if task in other]
    if not shared:
        raise InputError(
            f"Expected two audits with a task in common, but got the tasks "
            f"{list(first.gains.tasks)} and {list(second.gains.tasks)}."
        )
    if names[0] == names[1]:
        names = (f"{names[0]} (1)", f"{names[1]} (2)")
    gains = (_only(first.gains, shared), _only(second.gains, shared))
    dots = GainDots(dict(zip(names, gains, strict=True)))
    figure = Figure(
        name="gain-dots",
        title="Measured gains",
        alt=f"Dot plot of the gain of each task under the plans of {names[0]} and {names[1]}. The "
        "same numbers are in the table below.",
        svg=Markup(inline_svg(dots, "gain-dots")),
    )
    return render(
        "comparison.html.j2",
        title=f"{names[0]} and {names[1]}: two task affinity audits",
        result=to_jsonable(
            {"first": result_of(first), "second": result_of(second), "affinity": []}
        ),
        names=names,
        audits=(first, second),
        facts_of_both=_facts(first, second, names),
        figure=figure,
        headline=_headline(first, second, shared, names),
        left_out=sorted((set(first.gains.tasks) | other) - set(shared)),
        moved=moved_pairs(first.plan.grouping, second.plan.grouping),
        networks=[network_rows(audit) for audit in (first, second)],
        rows=_rows(first, second, shared),
        settings=_settings(to_jsonable(first.context), to_jsonable(second.context)),
    )


def moved_pairs(first: Grouping, second: Grouping) -> list[Pair]:
    """Pairs of common tasks that only one of the groupings serves by one network.

    Example:
        >>> from affinity.grouping import Network
        >>> one = Grouping((Network.of("depth", "edges"), Network.of("text")))
        >>> other = Grouping((Network.of("depth"), Network.of("edges", "text")))
        >>> [(pair.first, pair.second, pair.is_new) for pair in moved_pairs(one, other)]
        [('depth', 'edges', False), ('edges', 'text', True)]
    """
    moved: list[Pair] = []
    for one, two in combinations(sorted(first.tasks & second.tasks), 2):
        before = first.network_of(one) == first.network_of(two)
        after = second.network_of(one) == second.network_of(two)
        if before != after:
            moved.append(Pair(one, two, after))
    return moved


def agreement_of(first: AffinityMatrix | None, second: AffinityMatrix | None) -> float:
    """Rank correlation of the affinities between common tasks; NaN where it is undefined."""
    if first is None or second is None:
        return float("nan")
    shared = [task for task in first.tasks if task in second.tasks]
    pairs = [(source, target) for source in shared for target in shared if source != target]
    one = np.array([first.between(*pair) for pair in pairs])
    two = np.array([second.between(*pair) for pair in pairs])
    known = np.isfinite(one) & np.isfinite(two)
    one, two = one[known], two[known]
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    return float(stats.spearmanr(one, two).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def _only(gains: Gains, tasks: list[str]) -> Gains:
    places = [gains.tasks.index(task) for task in tasks]
    better = gains.higher_is_better
    return Gains(
        tasks=tuple(tasks),
        scores=gains.scores[:, places],
        baseline=gains.baseline[:, places],
        higher_is_better=None if better is None else tuple(better[at] for at in places),
    )


def _headline(first: Audit, second: Audit, shared: list[str], names: tuple[str, str]) -> list[str]:
    before, after = (float(audit.gains.overall().mean()) for audit in (first, second))
    changed = [
        task for task in shared if first.verdicts[task].verdict != second.verdicts[task].verdict
    ]
    title = (
        f"Both audits advise the same: {first.advice}."
        if first.advice == second.advice
        else f"The advice differs: {first.advice} in {names[0]}, {second.advice} in {names[1]}."
    )
    sentences = [
        title,
        f"The plan's mean gain is {percent(before)} in {names[0]} and {percent(after)} in "
        f"{names[1]}. {count(len(changed), 'verdict')} of {len(shared)} differ.",
    ]
    agreement = agreement_of(first.matrix, second.matrix)
    if np.isfinite(agreement):
        sentences.append(
            f"The estimated affinities agree with a rank correlation of "
            f"{number(agreement, signed=True, digits=2)}."
        )
    if first.problem != second.problem or _fingerprint(first) != _fingerprint(second):
        sentences.append("They were not made from the same data: compare with care.")
    return sentences


def _fingerprint(audit: Audit) -> str | None:
    return None if audit.context.source is None else audit.context.source.fingerprint


def _facts(first: Audit, second: Audit, names: tuple[str, str]) -> list[dict[str, str]]:
    facts: list[dict[str, str]] = []
    for audit, name in zip((first, second), names, strict=True):
        overall = audit.overall
        facts.append(
            {
                "name": f"Mean gain, {name}",
                "value": percent(overall.gain),
                "note": percent_range(overall.low, overall.high) or "one replicate: no interval",
                "tone": tone(overall.low, overall.high),
            }
        )
        facts.append(
            {
                "name": f"Networks, {name}",
                "value": str(len(audit.plan.grouping.networks)),
                "note": f"{count(audit.gains.n_replicates, 'replicate')}, 95{NARROW}% intervals",
                "tone": "",
            }
        )
    return facts


def _rows(first: Audit, second: Audit, shared: list[str]) -> list[dict[str, Any]]:
    one, two = first.verdicts, second.verdicts
    return [
        {
            "name": task,
            "first": one[task],
            "second": two[task],
            "difference": two[task].gain - one[task].gain,
            "is_changed": one[task].verdict != two[task].verdict,
        }
        for task in shared
    ]


def _settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What of the contexts differs."""
    one, two = _flat(first), _flat(second)
    keys = dict.fromkeys([*one, *two])
    return [
        (key, one.get(key, "not given"), two.get(key, "not given"))
        for key in keys
        if one.get(key) != two.get(key)
    ]


def _flat(context: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    entries: dict[str, str] = {}
    for key, value in context.items():
        if isinstance(value, Mapping):
            entries |= _flat(cast("Mapping[str, Any]", value), f"{prefix}{key}: ")
        else:
            entries[f"{prefix}{key}"] = str(value)
    return entries
