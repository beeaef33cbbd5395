"""The page that compares two audits: before and after, two estimators, two seeds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np

from affinity.audit import Audit, AuditContext
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.grouping import Grouping
from affinity.statistics import Verdict, spearman
from affinity.storage import to_jsonable
from affinity.words import count

from .gain_plot import GainPlot
from .key_numbers import KeyNumber, gain_number
from .network_rows import NetworkRow, network_rows
from .numbers import NARROW, gain_text, number
from .provenance import NAMES, context_settings
from .rendering import PageFigure, render

DIFFERENT_DATA = "The audits used different data, so differences may come from the data."


@dataclass(frozen=True)
class MovedPair:
    """Two tasks that one of two groupings serves together and the other does not."""

    first: str
    second: str
    is_new: bool


@dataclass(frozen=True)
class ComparisonPage:
    """What the page shows, part by part; of every pair, the first audit comes first."""

    names: tuple[str, str]
    title: str
    sentences: list[str]
    numbers: list[KeyNumber]
    figure: PageFigure
    verdicts: list[tuple[Verdict, Verdict]]
    words: dict[str, tuple[str, str]]
    left_out: list[str]
    networks: tuple[list[NetworkRow], list[NetworkRow]]
    moved: list[MovedPair]
    settings: list[tuple[str, str, str]]


def write_comparison(
    first: Audit, second: Audit, path: str | Path, names: tuple[str, str] = ("first", "second")
) -> Path:
    """Write one page that compares two audits of the same tasks, and return its path.

    Args:
        first: The audit to start from.
        second: The audit to compare with it.
        names: Names for the two audits.

    Raises:
        InputError: If they have no task in common, or the file cannot be written.
    """
    return write_atomically(path, render_comparison(first, second, names))


def render_comparison(
    first: Audit, second: Audit, names: tuple[str, str] = ("first", "second")
) -> str:
    """The page as text.

    Raises:
        InputError: If the audits have no task in common.
    """
    tasks, other_tasks = first.gains.tasks, second.gains.tasks
    shared = [task for task in tasks if task in other_tasks]
    if not shared:
        raise InputError(
            f"Expected two audits with a task in common, but got the tasks {list(tasks)} and "
            f"{list(other_tasks)}.",
            "no-common-task",
        )
    if names[0] == names[1]:
        names = (f"{names[0]} (1)", f"{names[1]} (2)")
    of_first, of_second = first.verdicts, second.verdicts
    verdicts = [(of_first[task], of_second[task]) for task in shared]
    words = {task: (first.verdict_words[task], second.verdict_words[task]) for task in shared}
    gains = (first.gains.of(shared), second.gains.of(shared))
    page = ComparisonPage(
        names=names,
        title=_title(first, second, names),
        sentences=list(_sentences(first, second, words, names)),
        numbers=[*_numbers(first, names[0]), *_numbers(second, names[1])],
        figure=PageFigure(
            name="gain-plot",
            title="Measured gains",
            alt=f"Dot plot of the gain of each task under the plans of {names[0]} and {names[1]}. "
            "The same numbers are in the table below.",
            picture=GainPlot(dict(zip(names, gains, strict=True))),
        ),
        verdicts=verdicts,
        words=words,
        left_out=sorted({*tasks, *other_tasks} - set(shared)),
        networks=(network_rows(first), network_rows(second)),
        moved=moved_pairs(first.plan.grouping, second.plan.grouping),
        settings=_differing_settings(first, second),
    )
    return render(
        "comparison.html.j2",
        title=f"{names[0]} and {names[1]}: two task affinity audits",
        result={"first": first.summary(), "second": second.summary(), "affinity": ()},
        page=page,
    )


def moved_pairs(first: Grouping, second: Grouping) -> list[MovedPair]:
    """Pairs of common tasks that only one of the groupings serves by one network.

    Example:
        >>> from affinity.grouping import Network
        >>> one = Grouping((Network.of("depth", "edges"), Network.of("text")))
        >>> other = Grouping((Network.of("depth"), Network.of("edges", "text")))
        >>> [(pair.first, pair.second, pair.is_new) for pair in moved_pairs(one, other)]
        [('depth', 'edges', False), ('edges', 'text', True)]
    """
    moved: list[MovedPair] = []
    for one, two in combinations(sorted(first.tasks & second.tasks), 2):
        before = first.network_of(one) == first.network_of(two)
        after = second.network_of(one) == second.network_of(two)
        if before != after:
            moved.append(MovedPair(one, two, after))
    return moved


def correlate_affinities(first: AffinityMatrix | None, second: AffinityMatrix | None) -> float:
    """Rank correlation of the affinities between common tasks; NaN if it is undefined."""
    if first is None or second is None:
        return float("nan")
    shared = [task for task in first.tasks if task in second.tasks]
    pairs = [(source, target) for source in shared for target in shared if source != target]
    values = np.array([(first.between(*pair), second.between(*pair)) for pair in pairs])
    values = values[np.isfinite(values).all(axis=1)] if pairs else np.empty((0, 2))
    return spearman(values[:, 0], values[:, 1])


def _title(first: Audit, second: Audit, names: tuple[str, str]) -> str:
    """Whether the same tasks are advised to share, whatever the candidates are called."""
    grouping, other = (audit.candidates[audit.advice].plan.grouping for audit in (first, second))
    if not moved_pairs(grouping, other):
        advised = " and ".join(dict.fromkeys((first.advice, second.advice)))
        return f"Both audits advise the same networks: {advised}."
    one, two = (
        f"{audit.advice} ({count(len(networks.networks), 'network')})"
        for audit, networks in ((first, grouping), (second, other))
    )
    return f"The advice differs: {one} in {names[0]}, {two} in {names[1]}."


def different_data(first: Audit, second: Audit) -> bool:
    """Whether two audits used different tables or problems."""
    prints = [
        audit.context.source and audit.context.source.fingerprint for audit in (first, second)
    ]
    return first.problem != second.problem or prints[0] != prints[1]


def _sentences(
    first: Audit, second: Audit, words: Mapping[str, tuple[str, str]], names: tuple[str, str]
) -> Iterator[str]:
    n_changed = sum(one != other for one, other in words.values())
    one, other = (gain_text(audit.overall.gain, audit.overall.unit) for audit in (first, second))
    yield (
        f"The plan's mean gain is {one} in {names[0]} and {other} in {names[1]}. {n_changed} of "
        f"{count(len(words), 'verdict')} differ."
    )
    correlation = correlate_affinities(first.matrix, second.matrix)
    if np.isfinite(correlation):
        yield (
            f"The rank correlation of the estimated affinities is "
            f"{number(correlation, signed=True, digits=2)}."
        )
    if different_data(first, second):
        yield DIFFERENT_DATA


def _numbers(audit: Audit, name: str) -> Iterator[KeyNumber]:
    overall = audit.overall
    yield gain_number(f"Mean gain, {name}", overall.gain, overall.low, overall.high, overall.unit)
    yield KeyNumber(
        f"Networks, {name}",
        str(len(audit.plan.grouping.networks)),
        f"{count(audit.gains.n_replicates, 'replicate')}, 95{NARROW}% intervals",
    )


def _differing_settings(first: Audit, second: Audit) -> list[tuple[str, str, str]]:
    settings, others = (dict(_flatten(audit.context)) for audit in (first, second))
    return [
        (name, settings.get(name, "not given"), others.get(name, "not given"))
        for name in dict.fromkeys([*settings, *others])
        if settings.get(name) != others.get(name)
    ]


def _flatten(context: AuditContext) -> Iterator[tuple[str, str]]:
    """Settings by name, one entry per entry of a mapping; without what every run measures."""
    for key, value in context_settings(context).items():
        if key in ("recording", "seconds"):
            continue
        entries = to_jsonable(value)
        name = NAMES.get(key, key)
        if isinstance(entries, Mapping):
            for part, entry in cast("Mapping[str, object]", entries).items():
                yield f"{name}: {part}", str(entry)
        elif entries is not None:
            yield name, str(entries)
