"""Conclusions from few-shot results in words: which method to use for how many rows."""

from collections.abc import Sequence

from affinity.fewshot import FewShotSummary
from affinity.fewshot.results import BASELINE
from affinity.words import count, listed

from .headline import Headline
from .key_numbers import KeyNumber
from .numbers import fixed, tone


def fewshot_headline(summary: FewShotSummary) -> Headline:
    """Name the method to use at each number of shots."""
    shots_of: dict[str, list[int]] = {}
    for shots, method in summary.advised.items():
        shots_of.setdefault(method, []).append(shots)
    parts = [
        f"{'learn each new task from scratch' if method == BASELINE else f'use {method}'} for "
        f"{_name_shots(shots)}"
        for method, shots in shots_of.items()
    ]
    title = "; ".join(parts)
    return Headline(
        f"{title[0].upper()}{title[1:]}.",
        (*(f"With {line}" for line in summary.advice), *summary.warnings),
        is_sure=not summary.distribution_shift.is_significant,
    )


def fewshot_facts(summary: FewShotSummary) -> list[KeyNumber]:
    """The few numbers below the headline."""
    facts = [
        KeyNumber(
            f"{summary.score.capitalize()} at {_name_shots([row.shots])}, {row.method}",
            fixed(row.score),
            f"{fixed(row.low)} to {fixed(row.high)}" if row.low == row.low else "",
            "" if row.method == BASELINE else tone(row.better_low, row.better_high),
        )
        for row in summary.rows
        if row.steps == summary.steps[-1] and summary.advised[row.shots] == row.method
    ]
    replicates = summary.replicates
    return [
        *facts,
        KeyNumber("Meta-test tasks", f"{summary.n_tasks:,}", "not used by any method for training"),
        KeyNumber(
            "Meta-trainings",
            str(replicates),
            "intervals include other meta-trainings"
            if replicates > 1
            else "intervals are over tasks only",
        ),
    ]


def describe_replication(summary: FewShotSummary) -> str:
    """What the intervals are over."""
    tasks = count(summary.n_tasks, "meta-test task")
    if summary.replicates == 1:
        return f"{tasks} after one meta-training; other meta-trainings may differ by more"
    return f"{tasks} and {summary.replicates} meta-trainings"


def _name_shots(shots: Sequence[int]) -> str:
    return f"{listed([str(number) for number in shots])} shot{'' if list(shots) == [1] else 's'}"
