"""The verdict in plain words: what to do, how sure that is, and what more certainty would take."""

import math
from dataclasses import dataclass

import numpy as np

from affinity.audit import Audit
from affinity.words import count, listed

from .numbers import NARROW, number, percent, percent_range

MOST_REPLICATES = 1000


@dataclass(frozen=True)
class Headline:
    """What the page opens with.

    Args:
        title: What to do, in one sentence.
        sentences: How well it did, which tasks won and lost, what is not decided.
        is_sure: Whether the interval of the mean gain leaves out 0.
    """

    title: str
    sentences: tuple[str, ...]
    is_sure: bool


def headline(audit: Audit) -> Headline:
    """Say what to do, by the arrangement that was best on evaluation rows, judged on test rows."""
    advice = audit.advice
    title, is_sure = _title(audit, advice)
    sentences = [_gain_of(audit, advice), _tally(audit, "plan" if advice == "separate" else advice)]
    sentences += [_cost(audit, advice), _still_open(audit)]
    return Headline(title, tuple(sentence for sentence in sentences if sentence), is_sure)


def _title(audit: Audit, advice: str) -> tuple[str, bool]:
    n_tasks, n_networks = len(audit.tasks), len(audit.plan.grouping.networks)
    what = {
        "plan": "Train the planned network"
        if n_networks == 1
        else f"Train the {n_networks} planned networks",
        "all-in-one": f"Train all {n_tasks} tasks in one network",
        "all-in-one at equal parameters": f"Train all {n_tasks} tasks in one network of width "
        f"{audit.candidates[advice].plan.width}",
        "separate": f"Keep a separate network for each of the {n_tasks} tasks",
        "separate at equal parameters": f"Keep a separate network of width "
        f"{audit.candidates[advice].plan.width} for each of the {n_tasks} tasks",
    }.get(advice, f"Train as in {advice!r}")
    if advice.startswith("separate"):
        return f"{what}: sharing cost quality.", False
    overall = audit.overall_of(advice)
    low, high = overall.low, overall.high
    if low > 0:
        return f"{what}: on average the tasks gain from sharing.", True
    if high < 0:
        return f"{what}? It led on evaluation rows, but lost on test rows: do not rely on it.", True
    if len(audit.candidates[advice].plan.grouping.networks) >= n_tasks:
        return f"{what}: nothing was gained by sharing, and nothing was tried that shares.", False
    if low > -audit.test.tolerance:
        return f"{what}: as good as separate networks, and fewer.", True
    return f"{what} to save networks: whether that is as good as separate ones is open.", False


def _gain_of(audit: Audit, advice: str) -> str:
    name = "plan" if advice == "separate" else advice
    gains = audit.candidates[name].test
    overall = audit.overall_of(name)
    mean = overall.gain
    who = {
        "plan": "The plan",
        "all-in-one": "One network for all tasks",
        "all-in-one at equal parameters": "One network for all tasks, with as many parameters as "
        "the plan,",
        "separate at equal parameters": "Narrower separate networks, with as many parameters as "
        "the plan in total,",
    }.get(name, name)
    way = "less" if mean >= 0 else "more"
    have = "have" if name.startswith("separate") else "has"
    text = f"{who} {have} {percent(abs(mean), signed=False)} {way} test loss than separate networks"
    text += ", averaged over the tasks"
    if gains.n_replicates < 2:
        return text + "; measured once, so nobody can say how much of that is chance."
    text += f" and {count(gains.n_replicates, 'paired replicate')}"
    return (
        f"{text} (95{NARROW}% interval of the gain {percent_range(overall.low, overall.high)}, for "
        "networks trained on these development rows)."
    )


def _tally(audit: Audit, name: str) -> str:
    verdicts = [verdict.verdict for verdict in audit.verdicts_of(name).values()]
    said = {
        "beneficial": "better off",
        "harmful": "worse off",
        "neutral": "neither",
        "undecided": "undecided",
    }
    parts = [f"{verdicts.count(key)} {words}" for key, words in said.items() if key in verdicts]
    way = {"plan": "under the plan", "all-in-one": "in one network"}.get(name, f"with {name}")
    return f"Of {count(len(verdicts), 'task')} {way}: {listed(parts)}."


def _cost(audit: Audit, advice: str) -> str:
    separate = audit.candidates.get("separate")
    chosen = audit.candidates.get(advice, None)
    if separate is None or chosen is None or advice == "separate" or not separate.parameters:
        return ""
    ratio = chosen.parameters / separate.parameters
    return (
        f"It takes {count(len(chosen.plan.grouping.networks), 'network')} instead of "
        f"{len(separate.plan.grouping.networks)}, with {number(ratio)} times the parameters."
    )


def _still_open(audit: Audit) -> str:
    n_replicates = audit.gains.n_replicates
    undecided = [each for each in audit.verdicts.values() if each.verdict == "undecided"]
    if not undecided:
        return ""
    if n_replicates < 2:
        return "Without a second replicate no task can be decided."
    needed = [each.needed for each in undecided]
    known = sorted(each for each in needed if each is not None)
    reaches = [each.detectable for each in undecided if math.isfinite(each.detectable)]
    reach = float(np.median(reaches)) if reaches else math.nan
    text = (
        f"An audit of this size finds gains or losses of about {percent(reach, signed=False)} and "
        "more on the undecided tasks"
    )
    if not reaches:
        return ""
    if not known:
        return f"{text}; more replicates alone would decide none of them, more test rows might."
    first = max(known[0], n_replicates + 1)
    if first > MOST_REPLICATES:
        return f"{text}; what they show now is too small for any sensible number of replicates."
    return f"{text}; the nearest to a verdict would need about {count(first, 'replicate')}."
