"""A diagnosis in words: its headline, its advice, and its verdicts on interventions."""

import math

import numpy as np

from affinity.audit import Diagnosis
from affinity.audit.causes import Intervention
from affinity.statistics import VerdictName
from affinity.words import listed

from .numbers import gain_range, gain_text

CAUSES = {
    "capacity": "the shared trunk is too small",
    "optimization": "the tasks are optimized poorly together",
    "data": "there are too few rows",
    "mismatch": "the tasks need different representations",
    "overfitting": "the networks overfit; sharing more would help",
}
VERDICT_WORDS: dict[VerdictName, tuple[str, str]] = {
    "beneficial": ("recovers", "harm remains"),
    "harmful": ("makes it worse", "no harm remains"),
    "neutral": ("no effect", "no harm remains"),
    "undecided": ("undecided", "undecided"),
}
"""On a remedy, and on a check whether harm remains without the other causes."""


def diagnosis_headline(diagnosis: Diagnosis) -> str:
    """What the diagnosis shows, in one sentence.

    A single replicate shows nothing: it has no intervals.
    """
    if diagnosis.n_replicates == 1:
        return "One replicate gives no intervals: use about six to find harm and its causes."
    if not diagnosis.shows_harm and diagnosis.cause == "overfitting":
        return "The plan overfits: its tasks would gain from sharing more."
    if not diagnosis.shows_harm:
        better = ", but some changes would improve on it" if diagnosis.remedies else ""
        return f"Sharing is not shown to hurt any task{better}."
    harm = float(np.nanmean(diagnosis.harm("test")))
    if not diagnosis.is_confirmed:
        selection_harm = float(np.nanmean(diagnosis.harm("evaluation")))
        return (
            f"Not confirmed: on selection rows sharing hurts {_harmed(diagnosis)} by "
            f"{gain_text(selection_harm, diagnosis.unit, signed=False)}, on test rows by "
            f"{gain_text(harm, diagnosis.unit)}."
        )
    size = gain_text(harm, diagnosis.unit, signed=False)
    score = "test loss" if diagnosis.unit == "relative" else "the test score"
    how = "higher" if diagnosis.unit == "relative" else "worse"
    text = f"Sharing hurts {_harmed(diagnosis)}: {score} is {size} {how} than in separate networks"
    if diagnosis.cause is None:
        return f"{text}. These replicates do not show why."
    return f"{text}. First cause: {CAUSES[diagnosis.cause]}."


def _harmed(diagnosis: Diagnosis) -> str:
    if not diagnosis.together:
        return listed(diagnosis.harmed)
    n_harmed, n_tasks = len(diagnosis.harmed), len(diagnosis.tasks)
    if n_harmed == n_tasks:
        return listed(diagnosis.harmed)
    also = f" (individually: {listed(diagnosis.harmed)})" if n_harmed else ""
    return f"the tasks on average{also}"


def advice_lines(diagnosis: Diagnosis) -> list[str]:
    """What to do: one line per remedy, with what it recovered on test rows and what it costs."""
    return [
        f"{'' if remedy.cause else 'Whatever the cause: '}{_advice(diagnosis, remedy.change)}"
        for remedy in diagnosis.remedies
    ]


def verdict_word(is_remedy: bool, verdict: VerdictName) -> str:
    """The verdict on an intervention, as tables show it.

    Example:
        >>> verdict_word(True, "beneficial"), verdict_word(False, "beneficial")
        ('recovers', 'harm remains')
    """
    return VERDICT_WORDS[verdict][0 if is_remedy else 1]


def _advice(diagnosis: Diagnosis, change: Intervention) -> str:
    mean, low, high = diagnosis.recovered(change, "test")
    interval = "" if math.isnan(low) else f" ({gain_range(low, high, diagnosis.unit)})"
    of_what = " of the separate networks' loss" if diagnosis.unit == "relative" else ""
    return (
        f"{change.advice[:1].upper()}{change.advice[1:]}. On test rows this recovers "
        f"{gain_text(mean, diagnosis.unit)}{interval}{of_what}, at {change.cost:.1f} times the "
        "cost."
    )
