"""Summaries in the terminal: tasks, race, plan, audit, diagnosis and repeated hold-outs."""

import math
from collections.abc import Mapping, Sequence
from typing import get_args

import torch
from rich.console import Console
from rich.markup import escape

from affinity.audit import (
    Audit,
    Diagnosis,
    EvaluatedPlan,
    ObjectiveComparison,
    RaceResult,
    RepeatedHoldout,
    metric_name,
)
from affinity.audit.alert import quote_names
from affinity.audit.task_description import METRIC_NAMES, SCORE
from affinity.audit.time_plan import TimePlan
from affinity.estimates import LabelOverlap
from affinity.problems import Problem
from affinity.problems.problem import output_of
from affinity.reading import Severity
from affinity.recommendation import MeasuredSharing, Plan, choose_sharing
from affinity.report.diagnosis_text import advice_lines, diagnosis_headline, verdict_word
from affinity.report.headline import audit_headline, averaged_tasks, describe_gains
from affinity.report.race_words import race_rows, race_sentences
from affinity.statistics import Verdict
from affinity.words import clock, count, in_percent

from .console import plain_table, print_note

MOST_ROWS = 30
LARGEST_PERCENTAGE = 10_000  # from here on numbers are printed as powers of ten
UNKNOWN = "\N{EN DASH}"
_SAME, _FEW = "same as separate", "too few labels"
COLOURS = {"harmful": "red", "beneficial": "green", "neutral": "cyan", "undecided": "yellow"}


def print_time_plan(console: Console, plan: TimePlan, corrected: bool = False) -> None:
    """Print the expected time of each stage, and what is less than without a time limit."""
    stages = "; ".join(f"{name} {clock(seconds)}" for name, seconds in plan.seconds.items())
    first = "Corrected estimate" if corrected else f"Time limit {plan.minutes:g} min. Estimate"
    console.print(f"{first}: {clock(plan.total)} ({stages}).", soft_wrap=True, highlight=False)
    if plan.choices:
        console.print(f"To keep the limit: {plan.choices}.", soft_wrap=True, highlight=False)
    if plan.total > 60 * plan.minutes:
        text = (
            "The limit is too short for the fewest trainings that give an answer: the audit takes "
            f"about {clock(plan.total)} instead of {clock(60 * plan.minutes)} min."
        )
        print_note(console, text)


def show_problem(console: Console, problem: Problem) -> None:
    """Print the tasks, their types and labels, and notes on the data."""
    n_rows = len(problem.development) + len(problem.test)
    console.print(
        f"[bold]{escape(problem.name)}[/bold]: {n_rows:,} rows, "
        f"{count(len(problem.tasks), 'task')}, "
        f"{count(problem.development.inputs[0].numel(), 'input')}; "
        f"{len(problem.test):,} held-out test rows"
    )
    counts = problem.label_counts()
    has_classes = any(each.minority for each in counts)
    has_events = "censored" in problem.source.kinds.values()
    rarer = "rarer classes or events" if has_events else "rarer classes"
    if problem.development.groups is not None:
        rarer = f"groups with {rarer}"
    splits = (f"{rarer} in train/valid/select/test",) if has_classes else ()
    table = plain_table("task", "type", "labelled>", "", "metric", *splits)
    for column, task in enumerate(problem.tasks[:MOST_ROWS]):
        labels = torch.cat(
            [problem.development.targets[:, column], problem.test.targets[:, column]]
        )
        labels = labels[~labels.isnan()]
        metric = metric_name(task)
        kind, detail = output_of(task), ""
        if kind == "binary":
            detail = f"{in_percent(float(labels.mean()), 1)} positive"
        elif kind == "classes":
            detail = f"{task.n_outputs} classes"
        minority = counts[column].minority
        rarer = "" if minority is None else "/".join(map(str, minority.values()))
        kind = problem.source.kinds.get(task.name, kind)
        table.add_row(escape(task.name), kind, f"{len(labels):,}", detail, metric, rarer)
    console.print(table)
    if len(problem.tasks) > MOST_ROWS:
        console.print(f"... and {count(len(problem.tasks) - MOST_ROWS, 'more task')}")
    order = get_args(Severity)
    notes = sorted(problem.notes, key=lambda note: order.index(note.severity))
    for note in notes[:MOST_ROWS]:
        print_note(console, note.message, is_warning=note.severity != "note")
    if overlap := str(LabelOverlap.of(problem)):
        print_note(console, overlap)


def show_race(console: Console, race: RaceResult) -> None:
    """Print one row per grouping: its expected gain, and the probability that it is best."""
    is_relative = race.unit == "relative"
    tolerance = f"{100 * race.tolerance:g} %" if is_relative else f"{race.tolerance:g}"
    table = plain_table(
        "candidate", "networks>", "expected gain>", "95 % interval>", "may be best>"
    )
    for row in race_rows(race.candidates):
        candidate = row.candidate
        table.add_row(
            row.names,
            str(len(candidate.grouping.networks)),
            percent(candidate.gain, unit=race.unit),
            " to ".join(percent(end, unit=race.unit) for end in (candidate.low, candidate.high)),
            in_percent(candidate.probability),
        )
    console.print(table)
    names = [candidate.name for candidate in race.candidates]
    if "any number of networks" in names:
        unlimited, within = map(race.candidate, ("any number of networks", "within the budget"))
        print_note(
            console,
            f"with {count(len(unlimited.grouping.networks), 'network')} the expected gain is "
            f"{percent(unlimited.gain, unit=race.unit)} instead of "
            f"{percent(within.gain, unit=race.unit)} within the budget.",
        )
    for sentence in race_sentences(race.finding, race.detectable, race.unit):
        print_note(console, sentence)
    if race.indistinguishable:
        others = {"separate": "separate networks"}
        names = " and ".join(others.get(name, name) for name in race.indistinguishable)
        print_note(console, f"the plan is not distinguishable from {names} (within {tolerance}).")


def show_plan(console: Console, plan: Plan) -> None:
    """Print one line per network, with its reason."""
    for number, (network, sharing, _, reason) in enumerate(plan.parts, start=1):
        served = ", ".join(sorted(network.served))
        helpers = ", ".join(sorted(network.trained - network.served))
        also = f" (helped by {helpers})" if helpers else ""
        console.print(f"  {number}. {escape(served + also)}: {sharing}. {escape(reason)}")


def show_sharing(
    console: Console,
    measured: Mapping[frozenset[str], Sequence[MeasuredSharing]],
    tolerance: float,
    note: str = "",
) -> None:
    """Print how the tasks of each network share, and what the other ways gained."""
    for tasks, ways in list(measured.items())[:MOST_ROWS]:
        _, why = choose_sharing(ways, tolerance)
        text = f"Sharing of {escape(', '.join(sorted(tasks)))}: {escape(why)}"
        console.print(text, soft_wrap=True, highlight=False)
    if note:
        console.print(note, soft_wrap=True, highlight=False)


def count_networks(plan: Plan) -> str:
    """The number of a plan's networks, in words."""
    return count(len(plan.grouping.networks), "network")


def show_audit(console: Console, audit: Audit) -> None:
    """Print serious warnings, one row per task, the other warnings, the candidates and the advice.

    If the plan is separate networks, the rows show all-in-one.
    """
    for alert in audit.alerts:
        if alert.severity == "serious":
            print_note(console, f"{alert.title}. {alert.text}", is_warning=True)
    is_separate = "separate" in audit.distinct["plan"]
    judged = "all-in-one" if is_separate else "plan"
    _show_tasks(console, audit, judged)
    _show_metrics(console, audit, judged)
    _show_reference(console, audit)
    codes = {limit.code for limit in audit.context.limits}
    codes |= {"race-contradicted", "fewer-networks-harm", "budget-binds", "task-not-learned"}
    for alert in audit.alerts:
        if alert.severity != "serious" and alert.code in codes:
            print_note(console, f"{alert.title}. {alert.text}")
    if not is_separate:
        overall, over = audit.overall, "All tasks together"
        if audit.left_out_of_means:
            over = f"Mean over {averaged_tasks(audit)}"
        needed = _needed(overall, audit.gains.n_replicates)
        console.print(f"{over}: {_coloured(overall.verdict)}, {_gain(overall)}{needed}")
    for name, names in audit.distinct.items():
        size = _size_of(audit.candidates[name])
        is_baseline = "separate" in names
        gain = "the baseline" if is_baseline else f"mean gain {_gain(audit.overall_of(name))}"
        console.print(f"{', '.join(names)}: {size}, {gain}")
    headline = audit_headline(audit)
    more = headline.sentences[:2] if headline.finding == "unfinished" else ()
    console.print(f"[bold]{escape(' '.join([headline.title, *more]))}[/bold]")


def _show_tasks(console: Console, audit: Audit, judged: str) -> None:
    """Print one row per task: its metric in each candidate, and the gain of one of them."""
    grouping = audit.plan.grouping
    same = audit.same_as_separate if judged == "plan" else ()
    columns = ["separate", judged]
    if judged == "plan" and "all-in-one" not in audit.distinct["plan"]:
        columns.append("all-in-one")
    gain = f"gain of {judged}>"
    table = plain_table("task", "net>", "metric", *(f"{n}>" for n in columns), gain, "verdict")
    metrics = {
        name: audit.candidates[name].metrics.scores.double().mean(dim=0).tolist()
        for name in columns
    }
    verdicts = audit.verdicts_of(judged)
    order = sorted(
        range(len(audit.tasks)),
        key=lambda task: grouping.networks.index(grouping.network_of(audit.tasks[task].name)),
    )
    if len(order) > MOST_ROWS:  # the largest gains and losses
        order.sort(key=lambda task: -_size(verdicts[audit.tasks[task].name]))
        order = order[:MOST_ROWS]
    for column in order:
        task = audit.tasks[column]
        verdict = verdicts[task.name]
        table.add_row(
            escape(task.name),
            str(1 + grouping.networks.index(grouping.network_of(task.name))),
            task.metric.removeprefix("ROC "),
            *(_number(metrics[name][column]) for name in columns),
            *((UNKNOWN, _SAME) if task.name in same else (_gain(verdict), _word(audit, verdict))),
        )
    console.print(table)
    if len(audit.tasks) > len(order):
        reasons = {**dict.fromkeys(audit.too_few_labels, _FEW), **dict.fromkeys(same, _SAME)}
        words = [reasons.get(v.task, v.verdict) for v in verdicts.values()]
        counts = [f"{words.count(n)} {n}" for n in (*COLOURS, _SAME, _FEW) if n in words]
        console.print(
            f"({len(order)} of {len(audit.tasks)} tasks, those with the largest gains and losses; "
            f"all tasks: {', '.join(counts)})"
        )
    console.print(
        f"Gain: {describe_gains(audit)}"
        + (
            f", with its 95 % interval over {_levels(audit)}."
            if audit.gains.n_replicates > 1
            else ". One replicate gives no intervals and no verdicts; use --replicates 5."
        ),
        style="dim",
    )
    corrected = [
        verdict.task
        for verdict in verdicts.values()
        if verdict.verdict == "undecided" and (verdict.low > 0 or verdict.high < 0)
    ]
    if corrected:
        console.print(
            f"Undecided although the interval excludes 0: {escape(quote_names(corrected))}. "
            f"Verdicts are corrected for {count(len(verdicts), 'task')}, intervals are not.",
            style="dim",
        )


def _word(audit: Audit, verdict: Verdict) -> str:
    """A task's verdict, or why it has none."""
    return _FEW if verdict.task in audit.too_few_labels else _coloured(verdict.verdict)


def _show_reference(console: Console, audit: Audit) -> None:
    """Print one row per task: gradient boosting next to the advised networks."""
    reference, overall = audit.reference, audit.reference_overall
    if reference is None or overall is None:
        for note in audit.context.notes:
            if note.code == "no-reference":
                print_note(console, note.message)
        return
    advised = audit.candidates[audit.advice]
    n_replicates = len(reference.scores)
    own, theirs = (
        values[:n_replicates].double().mean(dim=0).tolist()
        for values in (reference.metrics, advised.metrics.scores)
    )
    verdicts = audit.reference_verdicts.values()
    table = plain_table(
        *("task", "metric", "networks>", "boosting>", "gain of boosting>"), "boosting is"
    )
    for column, (task, verdict) in list(enumerate(zip(audit.tasks, verdicts, strict=True)))[
        :MOST_ROWS
    ]:
        words = {"beneficial": "better", "harmful": "worse", "neutral": "equal"}
        word = words.get(verdict.verdict) or _word(audit, verdict)
        table.add_row(
            escape(task.name),
            task.metric.removeprefix("ROC "),
            _number(theirs[column]),
            _number(own[column]),
            _gain(verdict),
            word,
        )
    console.print(
        f"A reference that shares nothing: {reference.name} per task, next to the advised networks "
        f"({count(n_replicates, 'replicate')}):",
        style="dim",
    )
    console.print(table)


def _show_metrics(console: Console, audit: Audit, judged: str) -> None:
    """Print the improvement of metrics that were asked for, unless they are the gains above."""
    differences = audit.candidates[judged].metrics.frame()
    chosen = [
        column
        for column, task in enumerate(audit.tasks)
        if task.metric not in (*METRIC_NAMES.values(), SCORE) and task.judge_by == "loss"
    ]
    if not chosen:
        return
    table = plain_table("task", "metric", f"gain of {judged}, in its units>")
    for column in chosen:
        mean, low, high = (
            percent(float(differences[name].iloc[column]), unit="difference")
            for name in ("difference", "difference_low", "difference_high")
        )
        table.add_row(
            escape(audit.tasks[column].name),
            audit.tasks[column].metric,
            mean if low == UNKNOWN else f"{mean} ({low} to {high})",
        )
    console.print(table)


def show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print one row per intervention, then the advice."""
    table = plain_table("cause", "intervention", "recovered>", "cost>", "verdict")
    summary = diagnosis.summary()
    for cause in summary.causes:
        label = f"{cause.cause}: {cause.status}"
        for change in cause.changes:
            mean = change.recovered.test
            verdict = verdict_word(change.is_remedy, change.verdict)
            table.add_row(
                label,
                escape(change.name),
                _interval(mean.mean, mean.low, mean.high, diagnosis.unit),
                f"{change.cost:.1f}",
                f"[{COLOURS[change.verdict]}]{verdict}[/]",
            )
            label = ""
        for skipped in cause.skipped:
            table.add_row(label, f"[dim]not tested: {escape(skipped)}[/dim]")
    console.print(table)
    interval = ", with its 95 % interval" if summary.n_replicates > 1 else ""
    console.print(
        f"Recovered: reduction in test loss, relative to separate networks{interval}. Cost: "
        "relative to the plan. Verdicts are reached on selection rows.",
        style="dim",
    )
    console.print(f"[bold]{escape(diagnosis_headline(diagnosis))}[/bold]")
    for number, line in enumerate(advice_lines(diagnosis), start=1):
        console.print(f"  {number}. {escape(line)}")


def show_objectives(console: Console, comparison: ObjectiveComparison) -> None:
    """Print one row per objective, then the advice."""
    table = plain_table("objective", "gain>", "gain over sum>", "cost>", "verdict")
    summary = comparison.summary()
    for row in summary.objectives:
        overall, over_sum = row.overall, row.over_sum
        table.add_row(
            row.name,
            _interval(overall.gain, overall.low, overall.high, overall.unit),
            UNKNOWN
            if row.name == "sum"
            else _interval(over_sum.mean, over_sum.low, over_sum.high, overall.unit),
            UNKNOWN if row.times_sum is None else f"{row.times_sum:.1f}",
            _coloured(overall.verdict) + (f" (diverged in {row.diverged})" if row.diverged else ""),
        )
    for name, reason in summary.skipped.items():
        table.add_row(name, f"[dim]not trained: {escape(reason)}[/dim]")
    console.print(table)
    usual = next(row.milliseconds_per_step for row in summary.objectives if row.name == "sum")
    console.print(
        "Gain: reduction in test loss, relative to separate networks"
        + (", with its 95 % interval" if summary.n_replicates > 1 else "")
        + f". Cost: time of a training step, relative to that of the sum ({usual:.2g} ms).",
        style="dim",
    )
    for note in comparison.context.notes:
        if note.severity == "serious":
            print_note(console, note.message, is_warning=True)
    advice = (
        "No objective gains more than the sum of the losses, the simplest one."
        if summary.advice == "sum"
        else f"Train with {summary.advice}: on selection rows it gains more than the sum."
    )
    console.print(f"[bold]{advice}[/bold]")


def show_holdout(console: Console, holdout: RepeatedHoldout) -> None:
    """Print one row per test split, then the mean gains of the procedure."""
    table = plain_table(
        *("split>", "networks>", "gain of plan>", "verdict", "gain as advised>", "advice")
    )
    summary = holdout.summary()
    for split in summary.splits:
        table.add_row(
            str(split.split),
            str(split.networks),
            percent(split.gain),
            _coloured(split.verdict),
            percent(split.gain_as_advised),
            split.advice,
        )
    console.print(table)
    n_splits, plan, advice = len(summary.splits), summary.plans[0], summary.advices[0]
    console.print(
        f"The most frequent plan was found on {plan.times} of {n_splits} test splits, the most "
        f"frequent advice ({advice.advice}) given on {advice.times}."
    )
    for label, procedure in (("planned", summary.as_plan), ("advised", summary.as_advice)):
        console.print(
            f"Repeating the audit on {n_splits} test splits and training as {label}: "
            f"{_coloured(procedure.verdict)}, mean gain "
            f"{_interval(procedure.gain, procedure.low, procedure.high)}"
        )


def percent(value: float | None, digits: int = 1, unit: str = "relative") -> str:
    """A gain with its sign, in percent if it is relative; an en dash for None."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if unit != "relative":
        return f"{value:+.3g}"
    number = 100 * value
    return f"{number:+.{digits}f} %" if abs(number) < LARGEST_PERCENTAGE else f"{number:+.2g} %"


def _coloured(verdict: str) -> str:
    return f"[{COLOURS[verdict]}]{verdict}[/]"


def _levels(audit: Audit) -> str:
    """The source of variation that intervals cover."""
    replicates = f"{audit.gains.n_replicates} replicates"
    if audit.context.intervals and "groups" in audit.context.intervals:
        return f"{replicates} and over groups of test rows"
    return replicates if audit.gains.score_blocks is None else f"{replicates} and over test rows"


def _size_of(candidate: EvaluatedPlan) -> str:
    width = candidate.plan.width
    shown = "" if width is None else f"width {width}, "
    size = f", {shown}{candidate.parameters:,} parameters" if candidate.parameters else ""
    return f"{count_networks(candidate.plan)}{size}"


def _needed(verdict: Verdict, n_replicates: int) -> str:
    """The number of replicates that would decide an undecided verdict."""
    if verdict.verdict != "undecided" or n_replicates < 2:
        return ""
    if verdict.needed is None:
        return "; more replicates alone would not decide it, more test rows might"
    return f"; about {max(verdict.needed, n_replicates + 1):,} replicates would decide it"


def _gain(verdict: Verdict) -> str:
    return _interval(verdict.gain, verdict.low, verdict.high, verdict.unit)


def _interval(
    mean: float | None, low: float | None, high: float | None, unit: str = "relative"
) -> str:
    """A gain with its interval, which need not be as long on either side."""
    known = [abs(value) for value in (mean, low, high) if value is not None]
    digits = 0 if max(known, default=0) >= 0.2 else 1
    if low is None or math.isnan(low):
        return percent(mean, unit=unit)
    low_text, high_text = (percent(end, digits, unit).removesuffix(" %") for end in (low, high))
    return f"{percent(mean, digits, unit)} ({low_text} to {high_text})"


def _number(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.4f}" if abs(value) < LARGEST_PERCENTAGE else f"{value:.2g}"


def _size(verdict: Verdict) -> float:
    return 0.0 if math.isnan(verdict.gain) else abs(verdict.gain)
