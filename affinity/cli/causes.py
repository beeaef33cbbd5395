"""The answer of `affinity diagnose` in words."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.audit import Diagnosis
from affinity.report.diagnosis_text import diagnosis_facts

COLOURS = {
    "recovers": "green",
    "harm is left": "green",
    "makes it worse": "red",
    "no difference": "cyan",
    "none is left": "cyan",
}


def show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """A row a change, then what to do."""
    facts = diagnosis_facts(diagnosis)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("cause", "change", "recovered", "cost", "verdict"):
        table.add_column(heading, justify="right" if heading in ("recovered", "cost") else "left")
    for finding in facts["causes"]:
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
    interval = ", with its 95 % interval" if facts["n_replicates"] > 1 else ""
    console.print(
        f"Recovered: the share of the separate networks' test loss{interval}. "
        "Verdicts are reached on evaluation rows.",
        style="dim",
    )
    console.print(f"[bold]{escape(facts['headline'])}[/bold]")
    for number, line in enumerate(facts["advice"], start=1):
        console.print(f"  {number}. {escape(line)}")


def _with_error(recovered: dict[str, float | None]) -> str:
    mean, low, high = (
        math.nan if recovered[name] is None else 100 * float(recovered[name] or 0)
        for name in ("mean", "low", "high")
    )
    return f"{mean:+.1f} %" if math.isnan(low) else f"{mean:+.1f} ± {(high - low) / 2:.1f} %"
