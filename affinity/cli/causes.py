"""The answer of `affinity diagnose` in words."""

import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

COLOURS = {
    "recovers": "green",
    "harm is left": "green",
    "makes it worse": "red",
    "no difference": "cyan",
    "none is left": "cyan",
}


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
    interval = ", with its 95 % interval" if diagnosis["n_replicates"] > 1 else ""
    console.print(
        f"Recovered: the share of the separate networks' test loss{interval}. "
        "Verdicts are reached on evaluation rows.",
        style="dim",
    )
    console.print(f"[bold]{escape(diagnosis['headline'])}[/bold]")
    for number, line in enumerate(diagnosis["advice"], start=1):
        console.print(f"  {number}. {escape(line)}")


def _with_error(recovered: dict[str, float | None]) -> str:
    mean, low, high = (
        math.nan if recovered[name] is None else 100 * float(recovered[name] or 0)
        for name in ("mean", "low", "high")
    )
    return f"{mean:+.1f} %" if math.isnan(low) else f"{mean:+.1f} ± {(high - low) / 2:.1f} %"
