"""What a person reads in the terminal: the tasks before the run, the answer after it."""

import math

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.audit import Audit, EvaluatedPlan, RaceResult, metric_name
from affinity.estimates import LabelOverlap
from affinity.problems import Problem
from affinity.recommendation import Plan
from affinity.statistics import Verdict
from affinity.words import count

MOST_ROWS = 30
MOST_DIGITS = 10_000
"""From here on numbers are told by their power of ten."""
UNKNOWN = "\N{EN DASH}"
COLOURS = {"harmful": "red", "beneficial": "green", "neutral": "cyan", "undecided": "yellow"}
WORDS = {
    "separate": "train every task separately",
    "all-in-one": "train all tasks in one network",
    "plan": "train as planned",
    "separate at equal parameters": "train every task separately, in narrower networks",
    "all-in-one at equal parameters": "train all tasks in one wider network",
}


def show_problem(console: Console, problem: Problem) -> None:
    """The tasks, their kinds and labels, and what was noticed in the data."""
    n_rows = len(problem.development) + len(problem.test)
    console.print(
        f"[bold]{escape(problem.name)}[/bold]: {n_rows:,} rows, "
        f"{count(len(problem.tasks), 'task')}, "
        f"{count(problem.development.inputs[0].numel(), 'input')}; "
        f"{len(problem.test):,} rows set aside to judge"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("task", "kind", "labelled", "", "metric"):
        table.add_column(heading, justify="right" if heading == "labelled" else "left")
    for at, task in enumerate(problem.tasks[:MOST_ROWS]):
        labels = torch.cat([problem.development.targets[:, at], problem.test.targets[:, at]])
        known = labels[~labels.isnan()]
        metric = metric_name(task)
        kind, what = "regression", ""
        if metric == "ROC AUC":
            kind, what = "binary", f"{known.mean():.1%} positive"
        elif metric == "accuracy":
            kind, what = "classes", f"{task.n_outputs} classes"
        table.add_row(escape(task.name), kind, f"{len(known):,}", what, metric)
    console.print(table)
    if len(problem.tasks) > MOST_ROWS:
        console.print(f"... and {count(len(problem.tasks) - MOST_ROWS, 'more task')}")
    for note in filter(None, [*problem.notes[:MOST_ROWS], str(LabelOverlap.of(problem))]):
        console.print(f"[yellow]Note:[/yellow] {escape(note)}")


def show_race(console: Console, raced: RaceResult) -> None:
    """One row per candidate: what it is expected to gain, and whether it may be best."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("candidate", "networks", "expected gain", "95 % interval", "may be best"):
        is_text = heading == "candidate"
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for each in raced.candidates:
        table.add_row(
            each.name,
            str(len(each.grouping.networks)),
            f"{each.gain:+.1%}",
            f"{each.low:+.1%} to {each.high:+.1%}",
            f"{each.probability:.0%}",
        )
    console.print(table)
    if raced.indistinguishable:
        console.print(
            "[yellow]Note:[/yellow] the plan cannot be told from "
            f"{' and '.join(raced.indistinguishable)}: they may well be as good, within "
            f"{100 * raced.tolerance:g}%."
        )


def show_plan(console: Console, plan: Plan) -> None:
    """A line a network, and why."""
    for number, (network, sharing, reason) in enumerate(
        zip(plan.grouping.networks, plan.sharing, plan.reasons, strict=True), start=1
    ):
        served = ", ".join(sorted(network.served))
        helpers = ", ".join(sorted(network.trained - network.served))
        also = f" (helped by {helpers})" if helpers else ""
        console.print(f"  {number}. {escape(served + also)}: {sharing}. {escape(reason)}")


def networks_in(plan: Plan) -> str:
    """How many networks a plan has, in words."""
    return count(len(plan.grouping.networks), "network")


def show_audit(console: Console, audit: Audit) -> None:
    """A row a task, then what to do."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("task")
    for heading in ("net", "metric", "separate", "plan", "all-in-one", "gain of plan", "verdict"):
        is_text = heading in ("metric", "verdict")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    metrics = {
        name: arrangement.metrics.scores.double().mean(dim=0).tolist()
        for name, arrangement in audit.candidates.items()
    }
    verdicts = audit.verdicts
    networks = audit.plan.grouping.networks
    order = sorted(
        range(len(audit.tasks)),
        key=lambda at: networks.index(audit.plan.grouping.network_of(audit.tasks[at].name)),
    )
    if len(order) > MOST_ROWS:  # the most telling ones
        order.sort(key=lambda at: -abs(_gain(verdicts[audit.tasks[at].name])))
        order = order[:MOST_ROWS]
    for at in order:
        task = audit.tasks[at]
        verdict = verdicts[task.name]
        colour = COLOURS[verdict.verdict]
        table.add_row(
            escape(task.name),
            str(1 + networks.index(audit.plan.grouping.network_of(task.name))),
            task.metric.removeprefix("ROC "),
            *(_number(metrics[name][at]) for name in ("separate", "plan", "all-in-one")),
            _with_error(verdict),
            f"[{colour}]{verdict.verdict}[/{colour}]",
        )
    console.print(table)
    if len(audit.tasks) > len(order):
        counts = {name: sum(v.verdict == name for v in verdicts.values()) for name in COLOURS}
        console.print(
            f"({len(order)} of {len(audit.tasks)} tasks, those with the largest gains and losses; "
            + ", ".join(f"{n} {name}" for name, n in counts.items() if n)
            + " in all)"
        )
    n_replicates = audit.gains.n_replicates
    console.print(
        "Gains: the share of the separate network's test loss that is gone"
        + (
            f", with its 95 % interval over {n_replicates} replicates and over test rows."
            if n_replicates > 1
            else ". One replicate gives no intervals and no verdicts: --replicates 5 does."
        ),
        style="dim",
    )
    for limit in audit.context.limits:
        console.print(f"[yellow]Note:[/yellow] {escape(limit.message)}")
    overall = audit.overall
    console.print(
        f"All tasks together: [{COLOURS[overall.verdict]}]{overall.verdict}"
        f"[/{COLOURS[overall.verdict]}], {_with_error(overall)}{_needed(overall, n_replicates)}"
    )
    for name, arrangement in audit.candidates.items():
        if name == "separate":
            continue
        console.print(
            f"{name}: {networks_in(arrangement.plan)}, "
            f"{_width(arrangement)}{arrangement.parameters:,} parameters, mean gain "
            f"{_with_error(audit.overall_of(name))}"
        )
    console.print(
        f"[bold]Advice: {WORDS[audit.advice]}[/bold] (the fewest networks within "
        f"{100 * audit.test.tolerance:g}% of the best mean gain on evaluation rows)."
    )


def _width(arrangement: EvaluatedPlan) -> str:
    return f"width {arrangement.plan.width}, " if arrangement.plan.width is not None else ""


def _needed(verdict: Verdict, n_replicates: int) -> str:
    """What it would take to decide."""
    if verdict.verdict != "undecided" or n_replicates < 2:
        return ""
    if verdict.needed is None:
        return "; more replicates alone would not decide it, more test rows might"
    return f"; about {max(verdict.needed, n_replicates + 1):,} replicates would decide it"


def _with_error(verdict: Verdict) -> str:
    """The gain with its interval, which need not be as long on either side."""
    if math.isnan(verdict.gain):
        return UNKNOWN
    if math.isnan(verdict.low):
        return f"{verdict.gain:+.1%}"
    percent = [100 * value for value in (verdict.gain, verdict.low, verdict.high)]
    if max(map(abs, percent)) >= MOST_DIGITS:
        gain, low, high = (f"{value:+.2g}" for value in percent)
        return f"{gain} % ({low} to {high})"
    digits = 0 if max(map(abs, percent)) >= 20 else 1
    gain, low, high = (f"{value:+.{digits}f}" for value in percent)
    return f"{gain} % ({low} to {high})"


def _number(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.4f}" if abs(value) < MOST_DIGITS else f"{value:.2g}"


def _gain(verdict: Verdict) -> float:
    return 0.0 if math.isnan(verdict.gain) else verdict.gain


def percent(share: float | None) -> str:
    """A share with its sign, in percent."""
    return UNKNOWN if share is None else f"{share:+.1%}"
