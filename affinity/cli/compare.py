"""`affinity compare`: two audits of the same tasks."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from affinity.audit import Audit, HoldoutSummary
from affinity.errors import InputError
from affinity.report import write_comparison
from affinity.report.comparison import DIFFERENT_DATA, correlate_affinities, different_data
from affinity.statistics import VerdictName
from affinity.words import count, shorten

from .console import plain_table, print_note
from .early_checks import is_study
from .run import Run
from .run_directory import MEASUREMENTS, RunDirectory
from .summary import COLOURS, percent


@dataclass(frozen=True)
class TaskVerdicts:
    """A task's verdicts and gains in both runs."""

    name: str
    verdict: tuple[VerdictName, ...]
    word: tuple[str, ...]  # the verdict, or why there is none
    unit: tuple[str, ...]
    gain: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class RunComparison:
    """Two audits; every pair is in the order of `runs`."""

    runs: tuple[str, ...]
    advice: tuple[str, ...]
    # the tasks that each network of the plans serves
    networks: tuple[tuple[tuple[str, ...], ...], ...]
    tasks: tuple[TaskVerdicts, ...]
    only_in: tuple[tuple[str, ...], ...]  # tasks that only one of them has
    affinity_correlation: float | None  # rank correlation, if both have affinities
    different_data: bool
    test_splits: tuple[HoldoutSummary | None, ...]


def compare_runs(first: Path, second: Path) -> RunComparison:
    """Verdicts and gains per task, and how far the affinities agree."""
    runs = [_read(first), _read(second)]
    audits = [run.audit for run in runs]
    verdicts = [audit.verdicts for audit in audits]
    shared = [task for task in verdicts[0] if task in verdicts[1]]
    if not shared:
        raise InputError(
            f"Expected two audits of the same tasks, but {str(first)!r} has {list(verdicts[0])} "
            f"and {str(second)!r} has {list(verdicts[1])}.",
            "no-common-task",
        )
    holdouts = [run.holdout for run in runs]
    correlation = correlate_affinities(*(audit.matrix for audit in audits))
    return RunComparison(
        runs=(str(first), str(second)),
        advice=tuple(audit.advice for audit in audits),
        networks=tuple(
            tuple(tuple(sorted(network.served)) for network in audit.plan.grouping.networks)
            for audit in audits
        ),
        tasks=tuple(
            TaskVerdicts(
                task,
                verdict=tuple(of[task].verdict for of in verdicts),
                word=tuple(audit.verdict_words[task] for audit in audits),
                unit=tuple(of[task].unit for of in verdicts),
                gain=tuple(of[task].gain for of in verdicts),
                low=tuple(of[task].low for of in verdicts),
                high=tuple(of[task].high for of in verdicts),
            )
            for task in shared
        ),
        only_in=tuple(tuple(task for task in of if task not in shared) for of in verdicts),
        affinity_correlation=None if math.isnan(correlation) else correlation,
        different_data=different_data(*audits),
        test_splits=tuple(None if each is None else each.summary() for each in holdouts),
    )


def show_comparison(console: Console, comparison: RunComparison) -> None:
    """Print one row per task, then the plans."""
    table = plain_table("task", "gain A>", "verdict A", "gain B>", "verdict B")
    for task in comparison.tasks:
        cells: list[str] = []
        for gain, word, unit in zip(task.gain, task.word, task.unit, strict=True):
            shown = f"[{COLOURS[word]}]{word}" if word in COLOURS else word
            cells += [percent(gain, unit=unit), shown]
        table.add_row(escape(task.name), *cells)
    console.print(table)
    for letter, run, advice, networks in zip(
        "AB", comparison.runs, comparison.advice, comparison.networks, strict=True
    ):
        shown = " | ".join(", ".join(served) for served in networks)
        console.print(f"{letter}: {escape(run)}; advice: {advice}; plan: {escape(shown)}")
    for letter, names in zip("AB", comparison.only_in, strict=True):
        if names:
            print_note(console, f"{count(len(names), 'task')} only in {letter}: {shorten(names)}.")
    if comparison.different_data:
        print_note(console, DIFFERENT_DATA)
    for letter, holdout in zip("AB", comparison.test_splits, strict=True):
        if holdout is not None:
            console.print(f"{letter}, {_over_splits(holdout)}")
    if comparison.test_splits.count(None) == 1:
        console.print("Only one of them was repeated on other test splits (--test-splits).")
    if comparison.affinity_correlation is not None:
        console.print(
            f"Rank correlation of their affinities: {comparison.affinity_correlation:+.2f}"
        )


def write_comparison_page(first: Path, second: Path) -> Path:
    """Write comparison.html to the first run's folder."""
    names = (first.resolve().name, second.resolve().name)
    return write_comparison(
        _read(first).audit, _read(second).audit, first / "comparison.html", names
    )


def _over_splits(holdout: HoldoutSummary) -> str:
    gains: list[str] = []
    for label, procedure in (("as planned", holdout.as_plan), ("as advised", holdout.as_advice)):
        low, high = procedure.low, procedure.high
        interval = "" if low is None else f" ({percent(low)} to {percent(high)})"
        verdict = f"[{COLOURS[procedure.verdict]}]{procedure.verdict}[/]"
        gains.append(f"{label} {verdict} {percent(procedure.gain)}{interval}")
    n_splits, plan, advice = len(holdout.splits), holdout.plans[0], holdout.advices[0]
    return (
        f"over {n_splits} test splits: {', '.join(gains)}; most frequent plan on {plan.times}, "
        f"most frequent advice ({advice.advice}) on {advice.times}"
    )


@dataclass(frozen=True)
class _StudyAudit:
    """The audit in a study's folder."""

    audit: Audit
    holdout: None = None


def _read(path: Path) -> Run | _StudyAudit:
    """A run, or the audit of a study, to read from; it is not locked."""
    if is_study(path):
        if not (path / MEASUREMENTS).exists():
            raise InputError(
                f"Expected an audit in the study {str(path)!r}, but there is none. Make one: "
                f"affinity study audit {shlex.quote(str(path))} --command ...",
                "no-audit",
            )
        return _StudyAudit(Audit.load(path / MEASUREMENTS))
    directory = RunDirectory(path)
    return Run(directory, directory.record.settings, Console())
