"""The stage that finds causes: what it read, what it left, and its answer in words."""

import json
import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.audit import CAUSES, diagnose
from affinity.audit.causes import Optimization
from affinity.recommendation import Plan

from .run_directory import RunDirectory

if TYPE_CHECKING:
    from .stages import Stages

DIAGNOSIS = "diagnosis.json"
COLOURS = {
    "recovers": "green",
    "harm is left": "green",
    "makes it worse": "red",
    "no difference": "cyan",
    "none is left": "cyan",
}


def diagnose_run(
    stages: "Stages", choice: str | None, replicates: int, quick: bool
) -> dict[str, Any]:
    """Why one network for all tasks, or another arrangement, harms; kept in the run's folder.

    The run's own plan is tried as a way to share less.

    Args:
        stages: Of a run that was recorded.
        choice: A plan: a file, "separate" or "all-in-one", which is the default.
        replicates: How many.
        quick: Whether to leave out what trains networks one by one.
    """
    run = stages.run
    plan = stages.plan(choice or "all-in-one")
    own = stages.plan(None) if run.file("plan.yaml").exists() else None
    inputs = {
        "networks": _plain(plan),
        "instead": None if own is None else _plain(own),
        "replicates": replicates,
        "quick": quick,
    }
    if run.is_done("diagnose", inputs):
        stages.stands("The diagnosis", DIAGNOSIS)
        return diagnosis_of(run) or {}
    stages.console.print(
        f"Taking causes of harm away, one after the other, {replicates} replicates ..."
    )
    with run.stage("diagnose", inputs, [DIAGNOSIS]):
        diagnosis = diagnose(
            stages.problem,
            plan,
            replicates,
            seed=stages.options.seed + 1,
            instead=own,
            causes={**CAUSES, "optimization": Optimization(one_by_one=not quick)},
            store=run.file("trainings"),
            context={"seed": stages.options.seed, "versions": run.body()["versions"]},
        )
        diagnosis.to_json(run.file(DIAGNOSIS))
    stages.wrote("diagnose", f"{len(diagnosis.changes)} changes measured", [DIAGNOSIS])
    return diagnosis.to_dict()


def diagnosis_of(run: RunDirectory) -> dict[str, Any] | None:
    """What `diagnose_run` found in this run; None where it was not asked."""
    if not run.is_done("diagnose"):
        return None
    return json.loads(run.file(DIAGNOSIS).read_text(encoding="utf-8"))


def show_diagnosis(console: Console, diagnosis: dict[str, Any]) -> None:
    """A row a change, then what to do."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("cause", "change", "recovered", "cost", "verdict"):
        table.add_column(heading, justify="right" if heading in ("recovered", "cost") else "left")
    for finding in diagnosis["findings"]:
        cause = f"{finding['cause']}: {finding['status']}"
        for number, change in enumerate(finding["changes"]):
            colour = COLOURS.get(change["verdict"], "yellow")
            table.add_row(
                cause if number == 0 else "",
                escape(change["name"]),
                _with_error(change["recovered"]["test"]),
                f"{change['cost']:.1f}",
                f"[{colour}]{change['verdict']}[/{colour}]",
            )
        for what in finding["skipped"]:
            table.add_row("", f"[dim]not tested: {escape(what)}[/dim]")
    console.print(table)
    console.print(
        "Recovered: the share of the separate networks' test loss, with its 95 % interval. "
        "Verdicts are reached on evaluation rows.",
        style="dim",
    )
    console.print(f"[bold]{escape(diagnosis['headline'])}[/bold]")
    for number, line in enumerate(diagnosis["advice"], start=1):
        console.print(f"  {number}. {escape(line)}")


def _plain(plan: Plan) -> list[list[Any]]:
    return [
        [sorted(network.trained), sorted(network.served), sharing]
        for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
    ]


def _with_error(recovered: dict[str, float | None]) -> str:
    mean, low, high = (
        math.nan if recovered[name] is None else 100 * float(recovered[name] or 0)
        for name in ("mean", "low", "high")
    )
    return f"{mean:+.1f} %" if math.isnan(low) else f"{mean:+.1f} ± {(high - low) / 2:.1f} %"
