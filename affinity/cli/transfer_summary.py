"""The results of a transfer in the terminal, and its pictures."""

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.report.transfer_page import transfer_pictures
from affinity.transfer import PairGain, TransferSummary
from affinity.words import count

from .console import print_note
from .run import Run
from .run_directory import FIGURES
from .summary import COLOURS, MOST_ROWS, UNKNOWN

MOST_COLUMNS = 10


def show_transfer(console: Console, summary: TransferSummary) -> None:
    """Print the gains, one row per source and one column per target; then the conclusions."""
    pairs = {(pair.source, pair.target): pair for pair in summary.pairs}
    targets = summary.targets[:MOST_COLUMNS]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("source \\ target")
    for target in targets:
        table.add_column(escape(target), justify="right")
    for source in summary.sources[:MOST_ROWS]:
        table.add_row(escape(source), *(_cell(pairs.get((source, target))) for target in targets))
    console.print(table)
    console.print(
        "Gains: relative reduction in test loss compared with training from scratch, in %; "
        f"{count(summary.n_replicates, 'replicate')}, recipe {escape(summary.recipe)}. "
        "Green is beneficial, red harmful, cyan neutral, yellow undecided.",
        style="dim",
    )
    for row in summary.scores:
        if math.isfinite(row.spearman):
            ceiling = UNKNOWN if math.isnan(row.ceiling) else f"{row.ceiling:.2f}"
            console.print(
                f"{row.score}: rank correlation with the gains {row.spearman:+.2f} (noise ceiling "
                f"{ceiling}, {row.n_targets} targets)"
            )
    for row in summary.joint[:MOST_ROWS]:
        console.print(
            f"{escape(row.source)} for {escape(row.target)}: [bold]{row.advice}[/bold]. "
            f"{escape('; '.join(row.reasons))}.",
            soft_wrap=True,
        )
    sentences = [summary.choice.summary] if summary.choice else []
    sentences += summary.curve_lines
    sentences += [summary.distortion.summary] if summary.distortion else []
    for line in filter(None, sentences):
        console.print(escape(line), soft_wrap=True)
    for warning in summary.warnings:
        print_note(console, warning, is_warning=True)
    title, *others = summary.lines
    console.print(f"[bold]{escape(title)}[/bold]", soft_wrap=True)
    for line in others[:MOST_ROWS]:
        console.print(escape(line), soft_wrap=True)


def write_pictures(run: Run, summary: TransferSummary) -> None:
    """Write the pictures as PNG into the run's figures."""
    for name, picture in transfer_pictures(summary).items():
        file = picture.save(run.directory.file(FIGURES) / f"{name}.png")
        run.console.print(f"Wrote {escape(str(file))}", soft_wrap=True)


def _cell(pair: PairGain | None) -> str:
    if pair is None:
        return ""
    if math.isnan(pair.gain):
        return UNKNOWN
    colour = COLOURS[pair.verdict]
    return f"[{colour}]{100 * pair.gain:+.1f}[/{colour}]"
