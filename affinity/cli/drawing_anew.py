"""Drawing anew: the whole audit on other test rows, each draw a run in the first one's folder."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.audit import Audit, RepeatedHoldout
from affinity.audit.repeated_holdout import Followed
from affinity.errors import InputError
from affinity.problems.windows import windows
from affinity.storage import save

from .opening import resumed, started
from .options import AuditOptions
from .run_files import DRAWS, HOLDOUT, OUTER
from .stages.all import audited
from .stages.report import reported
from .summary import COLOURS, percent

APART = 1_000
"""Between the seeds of two draws, so that they have none in common."""


def check_draws(options: AuditOptions, draws: int | None) -> None:
    """Say what cannot be drawn anew.

    Raises:
        InputError: If there are fewer than two draws, or a column says which rows are test rows.
    """
    if draws is None:
        return
    if draws < 2:
        raise InputError(f"Expected --outer of at least 2 draws of the test rows, but got {draws}.")
    if options.split_column is not None:
        raise InputError(
            f"Expected test rows that can be drawn anew for --outer {draws}, but the split column "
            f"{options.split_column!r} says which they are. Leave --outer out, or draw them at "
            f"random: --exclude {options.split_column!r} instead of --split-column."
        )


def drawn_anew(
    first: Audit,
    options: AuditOptions,
    folder: Path,
    draws: int,
    console: Console,
    command: str,
    backend: str | None = None,
) -> RepeatedHoldout:
    """The first audit and those of the other draws; kept in outer.json, and told on the page.

    Other rows at random, or where a column tells the time, earlier ones (`windows`).
    """
    audits = [first]
    known = [None] * draws if options.time_column is None else windows(draws, options.test_share)
    for draw in range(1, draws):
        console.rule(f"draw {draw + 1} of {draws}", style="dim")
        other = replace(options, seed=options.seed + APART * draw, known=known[draw])
        with started(other, folder / DRAWS / str(draw + 1), console, command) as work:
            audits.append(audited(work, backend=backend)[0])
    found = RepeatedHoldout(tuple(audits), options.test_share)
    with resumed(folder, console) as work:
        found.to_json(folder / OUTER)
        save(found, folder / HOLDOUT)
        reported(work, first)
    return found


def show_draws(console: Console, found: RepeatedHoldout, file: Path) -> None:
    """A row a draw, then what the procedure is worth."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("draw", "networks", "gain of plan", "verdict", "gain as advised", "advice"):
        is_text = heading in ("verdict", "advice")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for row in found.splits():
        colour = COLOURS[row.verdict]
        table.add_row(
            str(row.split),
            str(row.networks),
            percent(row.gain),
            f"[{colour}]{row.verdict}[/{colour}]",
            percent(row.gain_as_advised),
            row.advice,
        )
    console.print(table)
    ways: tuple[tuple[Followed, str], ...] = (("plan", "as planned"), ("advice", "as advised"))
    plan, advice = found.plans()[0], found.advices()[0]
    console.print(
        f"Of {len(found.audits)} draws the most frequent plan came out on {plan.times}, the most "
        f"frequent advice ({advice.advice}) on {advice.times}."
    )
    for followed, words in ways:
        overall, verdict = found.overall(followed), found.verdict(followed)
        (low,), (high,) = overall.interval()
        console.print(
            f"Deciding anew on each of {len(found.audits)} draws of the test rows and training "
            f"{words}: [{COLOURS[verdict]}]{verdict}[/{COLOURS[verdict]}], mean gain "
            f"{overall.mean[0]:+.1%} ({low:+.1%} to {high:+.1%})"
        )
    console.print(f"Wrote {escape(str(file))}", soft_wrap=True)
