"""Alerts on the data, on the measured gains and on the trained networks of an audit."""

from collections.abc import Iterator
from math import hypot
from typing import TYPE_CHECKING

from affinity.grouping import Network
from affinity.statistics import Verdict
from affinity.words import count

from .alert import SEVERITIES, Alert, format_gain, quote_names
from .race_result import Candidate

if TYPE_CHECKING:
    from .audit import Audit

_ABOUT_DATA = {
    "too-few-to-judge": "Some tasks have too few test labels to be judged",
    "one-label": "Some tasks have one label in all rows to learn from",
    "unseen-classes": "Test rows have classes that no development row has",
    "leak": "A column gives a target away",
    "copied-rows": "Test rows are copies of development rows",
    "near-rows": "Test rows and development rows seem to be of the same persons or things",
    "looks-like-groups": "Rows of one group are in both development and test rows",
    "similar-in-time": "Rows that are similar in time are split at random",
    "trained-on-the-future": "Development rows are later than test rows",
}
"""Titles of notes on the data, by code."""
FEWEST_REPLICATES = 3
FEWEST_ROWS = 200
NEAR_ZERO = 0.01  # a task whose loss is below this share of a constant's loss is nearly solved


def audit_alerts(audit: "Audit") -> list[Alert]:
    """What may be wrong with the data, the replicates, the verdicts or the gates.

    The most serious first; those that decide whether gains mean anything come before all others.
    """
    alerts = [
        *_unfinished(audit),
        *_nothing_learned(audit),
        *_nearly_solved(audit),
        *_reference(audit),
        *_data(audit),
        *_few_replicates(audit),
        *_harmful(audit),
        *_contradicted(audit),
        *_race(audit),
        *_budget(audit),
        *_passed_over(audit),
        *_limits(audit),
        *_undecided(audit),
        *_gates(audit),
    ]
    return sorted(alerts, key=lambda alert: SEVERITIES.index(alert.severity))


def _unfinished(audit: "Audit") -> Iterator[Alert]:
    """Networks that were still improving when their last epoch ended."""
    if not audit.unfinished_candidates:
        return
    most = audit.most_epochs
    names = [name for name in audit.distinct if name in audit.unfinished_candidates]
    yield Alert(
        "few-epochs",
        "serious" if audit.is_unfinished else "warning",
        "Networks had not finished training"
        + ("" if most is None else f" after {count(most, 'epoch')}"),
        "The validation loss was still falling in the last epochs in most networks of "
        f"{quote_names(names)}. Networks of many tasks often need more epochs than those of one, "
        f"so gains from sharing may be larger with longer trainings. {how_to_finish(audit)}",
    )


def how_to_finish(audit: "Audit") -> str:
    """What lets networks finish their training."""
    minutes = audit.context.enough_minutes
    if minutes is None:
        return "Allow more epochs (--epochs)."
    return f"A --time-limit of {minutes:g} minutes is estimated to be enough."


def _nothing_learned(audit: "Audit") -> Iterator[Alert]:
    names = list(audit.not_learned)
    if not names:
        return
    tolerance = f"{100 * audit.test.tolerance:g} %"
    if len(names) == len(audit.tasks):
        yield Alert(
            "nothing-learned",
            "serious",
            "No network predicts better than a constant",
            f"For none of the {len(names)} tasks has any network a test loss that is more than "
            f"{tolerance} below that of the best constant prediction. Gains compare networks that "
            "learned nothing: they do not show which tasks should share. Look for better inputs, "
            "check the targets, or train with other settings.",
        )
        return
    yield Alert(
        "task-not-learned",
        "warning",
        f"{count(len(names), 'task')} not learned",
        f"{quote_names(names)}: no network has a test loss more than {tolerance} below that of the "
        "best constant prediction. The gains of such tasks mean little.",
    )


def _nearly_solved(audit: "Audit") -> Iterator[Alert]:
    names = [
        verdict.task
        for verdict in audit.verdicts.values()
        if verdict.task in audit.nearly_solved and abs(verdict.gain) > verdict.tolerance
    ]
    if names:
        yield Alert(
            "loss-near-zero",
            "serious",
            f"Gains of {count(len(names), 'task')} are percentages of almost nothing",
            f"{quote_names(names)}: separate networks have less than {100 * NEAR_ZERO:g} % of the "
            "test loss of a constant prediction. A large percentage of so small a loss hardly "
            "changes predictions: compare the metrics instead.",
        )


def _data(audit: "Audit") -> Iterator[Alert]:
    for note in audit.context.notes:
        title = _ABOUT_DATA.get(note.code, "About the data")
        yield Alert(note.code, note.severity, title, note.message)
    noted = {note.code for note in audit.context.notes}
    if audit.too_few_labels and "too-few-to-judge" not in noted:
        yield Alert(
            "too-few-to-judge",
            "serious",
            _ABOUT_DATA["too-few-to-judge"],
            f"{quote_names(audit.too_few_labels)}: there are too few test rows of each class "
            "for a verdict.",
        )
    for part, n_rows in audit.context.rows.items():
        if n_rows < FEWEST_ROWS:
            yield Alert(
                "small-split",
                "warning",
                f"Few {part} rows",
                f"With {count(n_rows, 'row')}, differences between networks are mostly noise.",
            )


def _reference(audit: "Audit") -> Iterator[Alert]:
    reference, overall = audit.reference, audit.reference_overall
    if reference is None or overall is None or overall.verdict != "beneficial":
        return
    gain = format_gain(overall.gain, overall.low, overall.high, overall.unit)
    yield Alert(
        "reference-wins",
        "serious",
        f"{reference.name.capitalize()} is better than these networks",
        f"One {reference.name} model per task, on the same rows and without sharing, has a mean "
        f"gain of {gain} over the advised networks. Use it, or larger networks, before you decide "
        "what to share.",
    )


def _few_replicates(audit: "Audit") -> Iterator[Alert]:
    n_replicates = audit.gains.n_replicates
    if n_replicates >= FEWEST_REPLICATES:
        return
    none = "One replicate gives no intervals and no verdicts. " if n_replicates == 1 else ""
    yield Alert(
        "few-replicates",
        "serious",
        f"Only {count(n_replicates, 'replicate')}",
        f"{none}Gains vary between data splits and seeds as much as between ways of sharing. Use "
        f"at least {FEWEST_REPLICATES} replicates, better 5 to 10, before you rely on this audit.",
    )


def _harmful(audit: "Audit") -> Iterator[Alert]:
    overall = audit.overall
    if overall.verdict == "harmful":
        yield Alert(
            "plan-harms",
            "serious",
            "The plan is worse than separate networks on average",
            f"Its mean gain is {format_gain(overall.gain, overall.low, overall.high, overall.unit)}"
            " on test rows.",
        )
    harmed = [verdict for verdict in audit.verdicts.values() if verdict.verdict == "harmful"]
    if not harmed:
        return
    worst = min(harmed, key=lambda verdict: verdict.gain)
    lowest = f"The lowest gain is {format_gain(worst.gain, unit=worst.unit)}, for “{worst.task}”"
    yield Alert(
        "harmful-tasks",
        "serious",
        f"The plan hurts {count(len(harmed), 'task')}",
        f"{quote_names([verdict.task for verdict in harmed])}. {lowest}. Give such tasks their own "
        "networks in plan.yaml and run the audit again. “affinity diagnose RUN” (for a study "
        "“affinity study diagnose RUN”) looks for causes.",
    )


def _contradicted(audit: "Audit") -> Iterator[Alert]:
    """Test rows that clearly contradict the rows on which the decision was made."""
    overall = audit.overall_of(audit.advice)
    if overall.high < 0:
        selection = audit.selection_gain(audit.advice)
        yield Alert(
            "test-contradicts-selection",
            "serious",
            "Test rows contradict selection rows",
            f"The advised candidate has a mean gain of {format_gain(selection, unit=overall.unit)} "
            "on selection rows, but of "
            f"{format_gain(overall.gain, overall.low, overall.high, overall.unit)} on test rows. "
            "Use more replicates or more selection rows.",
        )


def _race(audit: "Audit") -> Iterator[Alert]:
    """Candidates of which the audit measured something else than the race expected."""
    race = audit.context.race
    if not race or audit.name_of(race[0].grouping) is None:
        return
    winner, advised = (
        frozenset(grouping.networks)
        for grouping in (race[0].grouping, audit.candidates[audit.advice].plan.grouping)
    )
    is_replaced = winner != advised
    figures: dict[frozenset[Network], str] = {}
    title = "The audit advises another grouping than the race"
    for candidate in race:
        networks, name = frozenset(candidate.grouping.networks), audit.name_of(candidate.grouping)
        if name is None or networks in figures:
            continue
        measured = audit.overall_of(name)
        if _is_beyond_noise(candidate, measured, audit.test.tolerance):
            title = "The audit contradicts the race"
        elif not (is_replaced and networks in (winner, advised)):
            continue
        who = {1: "one network for all tasks", len(audit.tasks): "separate networks"}.get(
            len(networks), count(len(networks), "network")
        )
        who += " (the winner of the race)" if networks == winner else ""
        if all(network.is_alone for network in networks):
            figures[networks] = f"{who}: 0 by definition"
            continue
        unit = measured.unit
        figures[networks] = (
            f"{who}: {format_gain(candidate.gain, candidate.low, candidate.high, unit)} expected "
            "by the race, "
            f"{format_gain(measured.gain, measured.low, measured.high, unit)} in the audit"
        )
    if not figures:
        return
    means = ""
    if audit.left_out_of_means:
        n_tasks = len(audit.tasks)
        means = (
            f" The race averages over all {n_tasks} tasks, the audit over the "
            f"{n_tasks - len(audit.left_out_of_means)} that have enough test labels."
        )
    yield Alert(
        "race-contradicted",
        "warning",
        title,
        f"Mean gains of {'; '.join(figures.values())}. The audit's measurement decides: the race "
        f"predicts from few trainings, those of the audit are new.{means}",
    )


def _is_beyond_noise(candidate: Candidate, measured: Verdict, tolerance: float) -> bool:
    """Whether two gains differ by more than the tolerance and than their intervals allow.

    The half widths that face each other are added as those of independent measurements.
    """
    difference = measured.gain - candidate.gain
    if difference > 0:
        halves = candidate.high - candidate.gain, measured.gain - measured.low
    else:
        halves = candidate.gain - candidate.low, measured.high - measured.gain
    return abs(difference) > max(hypot(*halves), tolerance)


def _budget(audit: "Audit") -> Iterator[Alert]:
    """A better candidate with more networks than allowed."""
    better = audit.beyond_budget
    if better is None:
        return
    gains = {name: audit.selection_gain(name) for name in (better, audit.advice)}
    unit = audit.gains.overall_unit
    n_networks = len(audit.candidates[better].plan.grouping.networks)
    yield Alert(
        "budget-binds",
        "warning",
        "More networks would be better",
        f"With {n_networks} networks ({better}) the mean gain on selection rows is "
        f"{format_gain(gains[better], unit=unit)} instead of "
        f"{format_gain(gains[audit.advice], unit=unit)}, but the budget is "
        f"{audit.context.budget}.",
    )


def _passed_over(audit: "Audit") -> Iterator[Alert]:
    """Fewer networks that are as good on average, but harm tasks."""
    if passed_over := audit.passed_over:
        harmed = "; ".join(f"{name}: {quote_names(t)}" for name, t in passed_over.items())
        yield Alert(
            "fewer-networks-harm",
            "note",
            "Fewer networks are as good on average, but hurt tasks",
            "Candidates with fewer networks whose mean gain on selection rows is within the "
            f"tolerance of the best, and the tasks that they hurt there: {harmed}.",
        )


def _limits(audit: "Audit") -> Iterator[Alert]:
    for limit in audit.context.limits:
        yield Alert(limit.code, "warning", "Limits of this audit", limit.message)


def _undecided(audit: "Audit") -> Iterator[Alert]:
    too_few = audit.too_few_labels
    undecided = [
        each.task
        for each in audit.verdicts.values()
        if each.verdict == "undecided" and each.task not in too_few
    ]
    if not undecided or audit.gains.n_replicates == 1:
        return
    yield Alert(
        "undecided-tasks",
        "warning" if len(undecided) > len(audit.tasks) / 2 else "note",
        f"{count(len(undecided), 'task')} undecided",
        f"{quote_names(undecided)}: these data neither show a gain or a loss nor exclude one. The "
        "column “Detectable” in the table of gains says how large an effect must be to be found.",
    )


def _gates(audit: "Audit") -> Iterator[Alert]:
    for number, gates in enumerate(audit.gates, start=1):
        if gates is None:
            continue
        if polarized := gates.often_polarized:
            yield Alert(
                "polarized-gates",
                "warning",
                f"Gates of network {number} are polarized",
                f"{quote_names(polarized)}: the gate gives nearly all weight to one expert "
                f"in up to {max(polarized.values())} of {gates.n_replicates} replicates, so the "
                "task shares less than planned. Use gate dropout or hard sharing.",
            )
        if identical := gates.often_identical:
            yield Alert(
                "identical-experts",
                "warning",
                f"Experts of network {number} are identical",
                f"Two of its experts give the same output on every row in {identical} of "
                f"{gates.n_replicates} replicates, so one of them is redundant. Use fewer experts "
                "or hard sharing.",
            )
