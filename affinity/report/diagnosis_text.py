"""A diagnosis in words: what it shows, what to do, and the verdict on an intervention."""

import math
from typing import Any

import numpy as np

from affinity.audit import Diagnosis
from affinity.audit.causes import Intervention
from affinity.statistics import VerdictName
from affinity.storage import to_jsonable
from affinity.words import listed

CAUSES = {
    "capacity": "the shared trunk is too small",
    "optimization": "the tasks are not trained well together",
    "data": "there are too few rows",
    "mismatch": "the tasks want different things of what they share",
}
VERDICT_WORDS: dict[VerdictName, tuple[str, str]] = {
    "beneficial": ("recovers", "harm is left"),
    "harmful": ("makes it worse", "none is left"),
    "neutral": ("no difference", "none is left"),
    "undecided": ("undecided", "undecided"),
}
"""Of a remedy, and of the harm that is left without the other causes."""


def diagnosis_headline(diagnosis: Diagnosis) -> str:
    """What the diagnosis shows, in a sentence."""
    if diagnosis.n_replicates == 1:
        return (
            "One replicate gives no intervals: it shows neither whether sharing harms a task nor "
            "why. Six would."
        )
    if not diagnosis.shows_harm:
        better = "; what follows would improve on it" if diagnosis.remedies else ""
        return f"No task is shown to be harmed by sharing{better}."
    mean = float(np.nanmean(diagnosis.harm("test")))
    if not diagnosis.is_confirmed:
        seen = float(np.nanmean(diagnosis.harm("evaluation")))
        return (
            f"Evaluation rows show a harm to {_whom(diagnosis)} of {100 * seen:.1f} % that "
            f"test rows do not ({100 * mean:+.1f} %): do not act on it."
        )
    is_one = not diagnosis.together and len(diagnosis.harmed) == 1
    whose = "its separate network's" if is_one else "their separate networks'"
    text = f"Sharing harms {_whom(diagnosis)} by {100 * mean:.1f} % of {whose} test loss"
    if diagnosis.cause is None:
        return f"{text}; these replicates do not show why."
    return f"{text}; first of all {CAUSES[diagnosis.cause]}."


def _whom(diagnosis: Diagnosis) -> str:
    if not diagnosis.together:
        return listed(diagnosis.harmed)
    n_harmed, n_tasks = len(diagnosis.harmed), len(diagnosis.tasks)
    if n_harmed in (0, n_tasks):
        return "the tasks together" if n_harmed == 0 else listed(diagnosis.harmed)
    return f"the tasks together ({listed(diagnosis.harmed)} also alone)"


def advice_lines(diagnosis: Diagnosis) -> list[str]:
    """What to do: one line per remedy, with what it recovered on test rows and what it costs."""
    return [
        f"{'' if remedy.cause else 'Whatever the cause: '}{_advise(diagnosis, remedy.change)}"
        for remedy in diagnosis.remedies
    ]


def verdict_word(is_remedy: bool, verdict: VerdictName) -> str:
    """The verdict on an intervention, as tables show it."""
    return VERDICT_WORDS[verdict][0 if is_remedy else 1]


def _advise(diagnosis: Diagnosis, change: Intervention) -> str:
    mean, low, high = diagnosis.recovered(change, "test")
    text = f"{100 * mean:+.1f} % of the separate networks' loss recovered"
    if not math.isnan(low):
        text += f" ({100 * low:+.1f} to {100 * high:+.1f} %)"
    advice = f"{change.advice[:1].upper()}{change.advice[1:]}"
    return f"{advice}: on test rows {text} at {change.cost:.1f} times the cost."


def diagnosis_facts(diagnosis: Diagnosis) -> dict[str, Any]:
    """The summary with its headline, its advice, and words for the verdicts."""
    facts = to_jsonable(diagnosis.summary())
    for cause in facts["causes"]:
        for change in cause["changes"]:
            change["verdict"] = verdict_word(change["is_remedy"], change["verdict"])
    return {
        **facts,
        "headline": diagnosis_headline(diagnosis),
        "advice": advice_lines(diagnosis),
    }
