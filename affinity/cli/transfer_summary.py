"""What a person reads of a transfer in the terminal, and its pictures."""

import math
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.report.transfer_page import transfer_pictures
from affinity.words import count

from .run_files import FIGURES
from .summary import COLOURS, MOST_ROWS, UNKNOWN
from .work import Work

MOST_COLUMNS = 10


def show_transfer(console: Console, result: Mapping[str, Any]) -> None:
    """A row a source, a column a target; then what to do."""
    pairs = {(pair["source"], pair["target"]): pair for pair in result["pairs"]}
    targets = result["targets"][:MOST_COLUMNS]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("source \\ target")
    for target in targets:
        table.add_column(escape(target), justify="right")
    for source in result["sources"][:MOST_ROWS]:
        table.add_row(escape(source), *(_cell(pairs.get((source, target))) for target in targets))
    console.print(table)
    console.print(
        f"Gains: the share of the target's loss from scratch that is gone, in %; "
        f"{count(result['n_replicates'], 'replicate')}, recipe {escape(result['recipe'])}. "
        "Green is beneficial, red harmful, cyan neutral, yellow undecided.",
        style="dim",
    )
    if choice := result.get("choice"):
        console.print(escape(choice["summary"]), soft_wrap=True)
    for row in result.get("scores", ()):
        if row["spearman"] is not None:
            ceiling = UNKNOWN if row["ceiling"] is None else f"{row['ceiling']:.2f}"
            console.print(
                f"{row['score']}: agrees with the gains at {row['spearman']:+.2f} (ceiling "
                f"{ceiling}, {row['n_targets']} targets)"
            )
    for row in result.get("joint", ())[:MOST_ROWS]:
        console.print(
            f"{escape(row['source'])} for {escape(row['target'])}: [bold]{row['advice']}[/bold]. "
            f"{escape('; '.join(row['reasons']))}.",
            soft_wrap=True,
        )
    distortion = result.get("distortion") or {"summary": ""}
    for line in [*result["curve_lines"], distortion["summary"]]:
        if line:
            console.print(escape(line), soft_wrap=True)
    title, *sentences = result["lines"]
    console.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
    for line in sentences[:MOST_ROWS]:
        console.print(escape(line), soft_wrap=True)


def write_pictures(work: Work, result: Mapping[str, Any]) -> None:
    """As PNG, in the run's figures."""
    for name, picture in transfer_pictures(result).items():
        file = picture.save(work.run.file(FIGURES) / f"{name}.png")
        work.console.print(f"Wrote {escape(str(file))}", soft_wrap=True)


def _cell(pair: Mapping[str, Any] | None) -> str:
    if pair is None:
        return ""
    if pair["gain"] is None or math.isnan(pair["gain"]):
        return UNKNOWN
    colour = COLOURS[pair["verdict"]]
    return f"[{colour}]{100 * pair['gain']:+.1f}[/{colour}]"
