"""Sentences of a study's page and its terminal output."""

from collections.abc import Iterator

from affinity.study import AuditDecision, StudySummary
from affinity.tasks.score import GainUnit
from affinity.words import count, duration, in_percent

from .numbers import gain_range, gain_text


def study_headline(summary: StudySummary) -> str:
    """The best grouping so far, in a few words."""
    plan = summary.plan
    if plan is None:
        return "No results yet"
    n_tasks = len(summary.tasks)
    if len(plan.networks) == 1:
        what = f"One network for all {n_tasks} tasks"
    elif len(plan.networks) == n_tasks:
        what = "A separate network for each task"
    else:
        what = f"{count(len(plan.networks), 'network')} for {n_tasks} tasks"
    if summary.audit is not None:
        return f"Audited: {what[0].lower()}{what[1:]}"
    if plan.gain is None:
        return f"Proposed, not measured: {what[0].lower()}{what[1:]}"
    if summary.is_decided:
        return f"Best: {what[0].lower()}{what[1:]}"
    end = "Stopped at the training limit; best" if summary.is_finished else "Best"
    return f"{end} so far: {what[0].lower()}{what[1:]}"


def study_sentences(summary: StudySummary) -> Iterator[str]:
    """The certainty of that result, and the progress of the study."""
    plan, status = summary.plan, summary.status
    if summary.audit is not None:
        yield from _audit_sentences(summary.audit, summary.unit)
    elif plan is not None and plan.gain is not None and plan.probability is not None:
        gain = gain_text(plan.gain, summary.unit)
        interval = gain_range(plan.low, plan.high, summary.unit)
        yield (
            f"Expected mean gain over separate networks: {gain} (95 % interval {interval}). The "
            f"probability that no other grouping, trained or not, is better by more than the "
            f"tolerance is {in_percent(plan.probability)}."
        )
        likely = max(candidate.probability or 0.0 for candidate in summary.candidates)
        if len(summary.candidates) > 1 and likely > plan.probability:
            yield (
                "These probabilities do not add up to 100 %: groupings that differ by less than "
                "the tolerance can all be best. The plan is chosen by its expected gain, where "
                "losses count three times, so that another grouping can have a higher probability."
            )
        larger = [c for c in summary.candidates[1:] if c.gain is not None and c.gain > plan.gain]
        if larger:
            other = max(larger, key=lambda candidate: candidate.gain or 0.0)
            yield (
                f"The grouping {other.names[0]!r} has a larger expected gain "
                f"({gain_text(other.gain, summary.unit)}), but it is not certain enough to be "
                "preferred to a simpler one."
            )
    if summary.audit is not None and summary.is_finished:
        return
    if summary.is_decided:
        unused = f"the other {count(status.left, 'training')} of the limit are not needed"
        yield f"The best grouping was found; {unused if status.left else 'none is left'}."
    elif summary.is_finished:
        yield "The maximum number of trainings has been reached."
    else:
        line = f"Up to {count(status.left, 'more training')}"
        if summary.seconds_left is not None and status.left:
            line += f", about {duration(summary.seconds_left)} at the pace of the last one"
        yield f"{line}, one after the other." if status.left else f"{line}."


def _audit_sentences(audit: AuditDecision, unit: GainUnit) -> Iterator[str]:
    interval = gain_range(audit.low, audit.high, unit)
    yield (
        f"Measured mean gain over separate networks, on {count(audit.replicates, 'new seed')}: "
        f"{gain_text(audit.gain, unit)}"
        + (f" (95 % interval {interval}): {audit.verdict}." if interval else f": {audit.verdict}.")
    )
    if audit.is_replaced:
        yield (
            "The audit advises this grouping instead of the one that the trainings before it "
            "proposed ('proposed' among the candidates)."
        )
