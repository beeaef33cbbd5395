"""The headline of an audit: what to do, how sure that is, and what is still open."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from affinity.audit import Audit
from affinity.audit.alert import format_gain
from affinity.audit.alerts import how_to_finish
from affinity.recommendation import Plan
from affinity.statistics import Verdict, VerdictName
from affinity.tasks.score import MATTERS
from affinity.words import count, listed

from .numbers import NARROW, gain_range, gain_text, number

MOST_REPLICATES = 1000
Finding = Literal[
    "unfinished",
    "nothing-learned",
    "too-few-to-judge",
    "incomplete",
    "one-replicate",
    "gain",
    "equal",
    "harm",
    "undecided",
    "not-shared",
]


_FINDINGS: dict[VerdictName, Finding] = {
    "beneficial": "gain",
    "harmful": "harm",
    "neutral": "equal",
    "undecided": "undecided",
}

_IN_OTHER_SENTENCES = (
    *("few-epochs", "nothing-learned", "plan-harms", "harmful-tasks", "test-contradicts-selection"),
)
"""Codes of serious alerts that the title or the verdicts say anyway."""


@dataclass(frozen=True)
class Headline:
    """What a page opens with.

    Args:
        title: What to do, in one sentence.
        sentences: What limits the result, the measured gain, the verdicts, the cost, and what is
            undecided.
        is_sure: Whether the verdict says what the title says.
        finding: What the verdict on the mean gain says of sharing: "gain", "harm", "equal" (within
            the tolerance) or "undecided"; "not-shared" if no candidate shares a network; or why
            gains do not show anything: "unfinished" where networks had not finished training, and
            so on. None on pages of other results.
    """

    title: str
    sentences: tuple[str, ...]
    is_sure: bool
    finding: Finding | None = None


def audit_headline(audit: Audit) -> Headline:
    """The advised candidate, chosen on selection rows, with its results on test rows."""
    advised = audit.candidates[audit.advice].plan
    finding, verdict, _ = _find(audit)
    title = {
        "unfinished": f"Not decided: networks had not finished training after "
        f"{count(audit.most_epochs or 0, 'epoch')}.",
        "nothing-learned": "Nothing was learned: no network predicts better than a constant.",
        "too-few-to-judge": "There are too few test labels to judge anything.",
        "incomplete": "Nothing can be judged: no replicate has the scores of all tasks.",
    }.get(finding) or f"{_action(audit, advised)}{_because(audit, advised, finding, verdict)}"
    serious = [
        alert.title
        for alert in audit.alerts
        if alert.severity == "serious" and alert.code not in _IN_OTHER_SENTENCES
    ]
    warnings = tuple(f"{text} (see the warnings)." for text in dict.fromkeys(serious))
    gains = _gain(audit, audit.advice), _gain(audit, "plan") if audit.advice != "plan" else ""
    if finding == "unfinished":
        sentences = (_so_far(audit), how_to_finish(audit), *warnings, _verdicts(audit))
    elif finding == "nothing-learned":
        sentences = (*warnings, *gains, _verdicts(audit))
    else:
        sentences = (*warnings, *gains, _verdicts(audit), _cost(audit), _undecided(audit))
    is_sure = finding in ("gain", "equal", "harm")
    return Headline(title, tuple(filter(None, sentences)), is_sure, finding)


def _find(audit: Audit) -> tuple[Finding, Verdict | None, str]:
    """What the audit shows, the verdict that shows it, and the candidate that it is on.

    That is the verdict on the advised candidate or, if it shares nothing, on the best one on
    selection rows that does.
    """
    names = {task.name for task in audit.tasks}
    if audit.is_unfinished:
        return "unfinished", None, ""
    if set(audit.not_learned) == names:
        return "nothing-learned", None, ""
    if set(audit.too_few_labels) == names:
        return "too-few-to-judge", None, ""
    judged = audit.advice
    if not _shares(audit.candidates[judged].plan):
        means = {
            name: mean
            for name, candidate in audit.candidates.items()
            if name != "random"
            and _shares(candidate.plan)
            and math.isfinite(mean := audit.selection_gain(name))
        }
        if not means:
            return "not-shared", None, ""
        judged = max(means, key=means.__getitem__)
    verdict = audit.overall_of(judged)
    if math.isnan(verdict.gain):
        return "incomplete", None, ""
    if math.isnan(verdict.low):
        return "one-replicate", verdict, judged
    return _FINDINGS[verdict.verdict], verdict, judged


def _shares(plan: Plan) -> bool:
    return any(len(network.trained) > 1 for network in plan.grouping.networks)


def _action(audit: Audit, plan: Plan) -> str:
    """What to train."""
    n_tasks, n_networks = len(audit.tasks), len(plan.grouping.networks)
    width = "" if plan.width is None else f" of width {plan.width}"
    if not _shares(plan):
        return f"Train {count(n_tasks, 'separate network')}{width}, one per task"
    if n_networks == 1:
        which = "both" if n_tasks == 2 else f"all {n_tasks}"
        return f"Train {which} tasks in one network{width}"
    return f"Train {n_networks} networks{width} for {n_tasks} tasks"


def _because(audit: Audit, plan: Plan, finding: Finding, verdict: Verdict | None) -> str:
    """The end of the title: what the interval shows."""
    if finding == "not-shared":
        return "."
    if finding == "one-replicate":
        return ": best on selection rows, but one replicate shows no more than that."
    assert verdict is not None
    if not _shares(plan) and audit.passed_over:
        harmed = {task for tasks in audit.passed_over.values() for task in tasks}
        return f": sharing is as good on average, but hurts {count(len(harmed), 'task')}."
    if not _shares(plan):
        return {
            "gain": ": sharing was not better on selection rows, although it is on test rows.",
            "harm": ": sharing makes predictions worse.",
            "equal": ": sharing makes no difference that matters.",
        }.get(finding, ": whether sharing helps is undecided.")
    fewer = len(plan.grouping.networks) < len(audit.tasks)
    as_good = ": as good as separate networks" + (", and fewer of them." if fewer else ".")
    return {
        "gain": ": tasks gain from sharing on average.",
        "harm": "? It was best on selection rows, but is worse than separate networks on test "
        "rows.",
        "equal": as_good,
    }.get(finding, ": whether it is as good as separate networks is undecided.")


def _so_far(audit: Audit) -> str:
    """What was measured on networks that had not finished training."""
    gains = [
        f"{name}{f' ({listed(names[1:])})' if names[1:] else ''} "
        f"{format_gain(gain.gain, gain.low, gain.high, gain.unit)}"
        for name, names in audit.distinct.items()
        if "separate" not in names and "random" not in names
        for gain in [audit.overall_of(name)]
    ]
    return f"Mean gains over separate networks so far: {listed(gains)}." if gains else ""


def _gain(audit: Audit, judged: str) -> str:
    plan = audit.candidates[judged].plan
    if judged != "plan" and not _shares(plan):
        return ""
    overall, n_replicates = audit.overall_of(judged), audit.gains.n_replicates
    if not _shares(plan):
        return _best_shared(audit)
    if math.isnan(overall.gain):
        return ""
    who = "the plan" if judged == "plan" else f"the advised candidate ({judged})"
    size = gain_text(abs(overall.gain), overall.unit, signed=False)
    lower, higher = ("lower", "higher") if is_of_losses(audit) else ("better", "worse")
    difference = f"{size} {lower if overall.gain > 0 else higher} than"
    score = "The test loss" if is_of_losses(audit) else "The test score"
    common = f" (on the common scale, on which {MATTERS} matters)"
    text = (
        f"{score} of {who} is {difference if overall.gain else 'equal to'} that of "
        f"separate networks, averaged over {averaged_tasks(audit)}"
        f"{common if overall.unit == 'common' else ''}"
    )
    if n_replicates < 2:
        return f"{text}. This is one measurement: there is no interval."
    if math.isnan(overall.low):
        return f"{text}. There is no interval."
    return (
        f"{text} and {count(n_replicates, 'replicate')} (95{NARROW}% interval of the gain: "
        f"{gain_range(overall.low, overall.high, overall.unit)})."
    )


def averaged_tasks(audit: Audit) -> str:
    """The tasks that means over tasks cover, in words."""
    if not audit.left_out_of_means:
        return "tasks"
    n_tasks = len(audit.tasks)
    kept = n_tasks - len(audit.left_out_of_means)
    return f"the {kept} of {n_tasks} tasks that have enough test labels"


def _best_shared(audit: Audit) -> str:
    """The gain of the best candidate that shares, where the plan does not."""
    _, verdict, name = _find(audit)
    if verdict is None:
        return ""
    interval = gain_range(verdict.low, verdict.high, verdict.unit)
    over = f", over {averaged_tasks(audit)}" if audit.left_out_of_means else ""
    return (
        f"Of the candidates that share, {name} is best on selection rows: its mean gain is "
        f"{gain_text(verdict.gain, verdict.unit)} on test rows{over}"
        + (f" (95{NARROW}% interval: {interval})." if interval else ".")
    )


def _verdicts(audit: Audit) -> str:
    """How many tasks have which verdict under the plan."""
    if not _shares(audit.plan):
        return ""
    same = audit.same_as_separate
    few = set(audit.too_few_labels) - set(same)
    verdicts = [
        each.verdict for each in audit.verdicts.values() if each.task not in few | set(same)
    ]
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
    if same:
        parts.append(f"{len(same)} the same as separate")
    if few:
        parts.append(f"{len(few)} without a verdict")
    return f"Of {count(len(audit.tasks), 'task')} under the plan: {listed(parts)}."


def _cost(audit: Audit) -> str:
    advised, separate = audit.candidates[audit.advice], audit.candidates["separate"]
    if not separate.parameters or not advised.parameters:
        return ""
    n_networks, n_separate = (len(each.plan.grouping.networks) for each in (advised, separate))
    if n_networks == n_separate and advised.parameters == separate.parameters:
        return ""
    instead = f" instead of {n_separate}" if n_networks != n_separate else ""
    return (
        f"It needs {count(n_networks, 'network')}{instead}, with "
        f"{number(advised.parameters / separate.parameters)} times the parameters."
    )


def _undecided(audit: Audit) -> str:
    """How large an effect this audit can find, and how many replicates would decide."""
    n_replicates = audit.gains.n_replicates
    few = set(audit.too_few_labels)
    undecided = [
        each
        for each in audit.verdicts.values()
        if each.verdict == "undecided" and each.task not in few
    ]
    if not undecided:
        return ""
    if n_replicates < 2:
        return "Verdicts need at least two replicates."
    detectable = [each.detectable for each in undecided if math.isfinite(each.detectable)]
    if not detectable:
        return ""
    unit, size = undecided[0].unit, float(np.median(detectable))
    if unit == "relative" and size >= 1:
        text = "On the undecided tasks this audit cannot detect any gain"
    elif all(verdict.unit == unit for verdict in undecided):
        shown = gain_text(size, unit, signed=False)
        text = f"On the undecided tasks this audit can detect gains or losses from about {shown}"
    else:
        text = "The table shows how large gains or losses must be to be detected"
    needed = [each.needed for each in undecided if each.needed is not None]
    if not needed:
        return f"{text}. More replicates alone would not decide them; more test rows might."
    first = max(min(needed), n_replicates + 1)
    if first > MOST_REPLICATES:
        return f"{text}. The measured differences are too small to be decided by more replicates."
    return f"{text}. To decide one more task, about {count(first, 'replicate')} are needed."


def describe_gains(audit: Audit) -> str:
    """What a gain of one task is, as the start of a sentence."""
    if is_of_losses(audit):
        return "Relative reduction in test loss compared with a separate network"
    units = set(audit.gains.units)
    what = {
        frozenset({"relative"}): "Relative improvement of the test score",
        frozenset({"difference"}): "Difference of test scores",
    }.get(frozenset(units), "Improvement of the test score, relative (%) or as a difference,")
    return f"{what} compared with a separate network, above 0 where it is better"


def is_of_losses(audit: Audit) -> bool:
    """Whether all gains are relative reductions of a loss."""
    scores = audit.gains.score_of.values()
    return all(score.direction == "minimize" and score.is_relative for score in scores)
