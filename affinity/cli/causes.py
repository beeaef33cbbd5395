"""The result of `affinity diagnose` in the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.audit import Diagnosis
from affinity.report.diagnosis_text import advice_lines, diagnosis_headline, verdict_word

COLOURS = {"beneficial": "green", "harmful": "red", "neutral": "cyan", "undecided": "yellow"}


def show_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """One row per intervention, then what to do."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("cause", "intervention", "recovered", "cost", "verdict"):
        table.add_column(heading, justify="right" if heading in ("recovered", "cost") else "left")
    for cause in diagnosis.summary().causes:
        for number, change in enumerate(cause.changes):
            recovered, verdict = change.recovered.test, change.verdict
            colour = COLOURS[verdict]
            table.add_row(
                f"{cause.cause}: {cause.status}" if number == 0 else "",
                escape(change.name),
                _with_error(recovered.mean, recovered.low, recovered.high),
                f"{change.cost:.1f}",
                f"[{colour}]{verdict_word(change.is_remedy, verdict)}[/{colour}]",
            )
        for reason in cause.skipped:
            table.add_row("", f"[dim]not tested: {escape(reason)}[/dim]")
    console.print(table)
    interval = ", with its 95 % interval" if diagnosis.n_replicates > 1 else ""
    console.print(
        f"Recovered: share of the separate networks' test loss{interval}. Verdicts are decided on "
        "selection rows.",
        style="dim",
    )
    console.print(f"[bold]{escape(diagnosis_headline(diagnosis))}[/bold]")
    for number, line in enumerate(advice_lines(diagnosis), start=1):
        console.print(f"  {number}. {escape(line)}")


def _with_error(mean: float | None, low: float | None, high: float | None) -> str:
    if mean is None or low is None or high is None:
        return "" if mean is None else f"{100 * mean:+.1f} %"
    return f"{100 * mean:+.1f} ± {50 * (high - low):.1f} %"
