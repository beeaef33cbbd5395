"""The headline of an audit's page: what to do, how sure that is, and what is still open."""

import math
from dataclasses import dataclass

import numpy as np

from affinity.audit import Audit
from affinity.tasks.score import MATTERS
from affinity.words import count, listed

from .gain_words import is_of_losses
from .numbers import NARROW, gain_range, gain_text, number

MOST_REPLICATES = 1000


@dataclass(frozen=True)
class Headline:
    """What a page opens with.

    Args:
        title: What to do, in one sentence.
        sentences: The measured gain, the verdicts, the cost, and what is undecided.
        is_sure: Whether the interval of the mean gain excludes 0.
    """

    title: str
    sentences: tuple[str, ...]
    is_sure: bool


def audit_headline(audit: Audit) -> Headline:
    """The advised candidate, chosen on selection rows, with its results on test rows."""
    title, is_sure = _title(audit)
    judged = "plan" if audit.advice == "separate" else audit.advice
    sentences = (_gain(audit, judged), _verdicts(audit, judged), _cost(audit), _undecided(audit))
    return Headline(title, tuple(sentence for sentence in sentences if sentence), is_sure)


def _title(audit: Audit) -> tuple[str, bool]:
    advice, advised = audit.advice, audit.candidates[audit.advice]
    n_tasks, n_networks = len(audit.tasks), len(audit.plan.grouping.networks)
    width = advised.plan.width
    size = "with as many parameters as the plan" if width is None else f"of width {width}"
    what = {
        "plan": "Train the planned network"
        if n_networks == 1
        else f"Train the {n_networks} planned networks",
        "all-in-one": f"Train all {n_tasks} tasks in one network",
        "all-in-one at equal parameters": f"Train all {n_tasks} tasks in one network {size}",
        "separate": f"Train {n_tasks} separate networks, one per task",
        "separate at equal parameters": f"Train {n_tasks} separate networks {size}, one per task",
    }.get(advice, f"Use the candidate {advice!r}")
    if advice.startswith("separate"):
        return f"{what}: sharing reduced quality.", False
    overall = audit.overall_of(advice)
    if overall.low > 0:
        return f"{what}: tasks gain from sharing on average.", True
    if overall.high < 0:
        return f"{what}? It was best on selection rows, but worse on test rows.", True
    if len(advised.plan.grouping.networks) >= n_tasks:
        return f"{what}: no network is shared, so nothing is gained or lost.", False
    if overall.low > -audit.test.tolerance:
        return f"{what}: as good as separate networks, and fewer of them.", True
    return f"{what}: fewer networks, but it is undecided whether quality is equal.", False


def _gain(audit: Audit, judged: str) -> str:
    n_replicates = audit.candidates[judged].test.n_replicates
    overall = audit.overall_of(judged)
    candidate = {
        "plan": "the plan",
        "all-in-one": "one network for all tasks",
        "all-in-one at equal parameters": "one network with as many parameters as the plan",
        "separate at equal parameters": "separate networks with as many parameters as the plan",
    }.get(judged, judged)
    size = gain_text(abs(overall.gain), overall.unit, signed=False)
    lower, higher = ("lower", "higher") if is_of_losses(audit) else ("better", "worse")
    difference = f"{size} {lower if overall.gain > 0 else higher} than"
    score = "The test loss" if is_of_losses(audit) else "The test score"
    common = f" (on the common scale, on which {MATTERS} matters)"
    text = (
        f"{score} of {candidate} is {difference if overall.gain else 'equal to'} that of "
        f"separate networks, averaged over tasks{common if overall.unit == 'common' else ''}"
    )
    if n_replicates < 2:
        return f"{text}. This is one measurement: there is no interval."
    return (
        f"{text} and {count(n_replicates, 'replicate')} (95{NARROW}% interval of the gain: "
        f"{gain_range(overall.low, overall.high, overall.unit)})."
    )


def _verdicts(audit: Audit, judged: str) -> str:
    verdicts = [verdict.verdict for verdict in audit.verdicts_of(judged).values()]
    parts = [
        f"{verdicts.count(name)} {words}"
        for name, words in {
            "beneficial": "better",
            "harmful": "worse",
            "neutral": "equal within the tolerance",
            "undecided": "undecided",
        }.items()
        if name in verdicts
    ]
    where = {"plan": "under the plan", "all-in-one": "in one network"}.get(judged, f"with {judged}")
    return f"Of {count(len(verdicts), 'task')} {where}: {listed(parts)}."


def _cost(audit: Audit) -> str:
    advised, separate = audit.candidates[audit.advice], audit.candidates["separate"]
    if audit.advice == "separate" or not separate.parameters:
        return ""
    n_networks = len(advised.plan.grouping.networks)
    return (
        f"It needs {count(n_networks, 'network')} instead of "
        f"{len(separate.plan.grouping.networks)}, with "
        f"{number(advised.parameters / separate.parameters)} times the parameters."
    )


def _undecided(audit: Audit) -> str:
    """How large an effect this audit can find, and how many replicates would decide."""
    n_replicates = audit.gains.n_replicates
    undecided = [each for each in audit.verdicts.values() if each.verdict == "undecided"]
    if not undecided:
        return ""
    if n_replicates < 2:
        return "Verdicts need at least two replicates."
    detectable = [each.detectable for each in undecided if math.isfinite(each.detectable)]
    if not detectable:
        return ""
    unit = undecided[0].unit
    if all(verdict.unit == unit for verdict in undecided):
        size = gain_text(float(np.median(detectable)), unit, signed=False)
        text = f"On the undecided tasks this audit can detect gains or losses from about {size}"
    else:
        text = "The table shows how large gains or losses must be to be detected"
    needed = [each.needed for each in undecided if each.needed is not None]
    if not needed:
        return f"{text}. More replicates alone would not decide them; more test rows might."
    first = max(min(needed), n_replicates + 1)
    if first > MOST_REPLICATES:
        return f"{text}. The measured differences are too small to be decided by more replicates."
    return f"{text}. To decide one more task, about {count(first, 'replicate')} are needed."
