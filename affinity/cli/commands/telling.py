"""What a command says: where words go, the answer, and what to run next."""

import shlex
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from affinity.audit import Audit

HARMED = 3
"""Exit code of --fail-on harmful when the plan harms a task."""


@contextmanager
def said(quiet: bool, as_json: bool = False, to_error: bool = False) -> Generator[Console]:
    """Where words go: standard output, or standard error where that is for the result."""
    from affinity.progress import quiet as quietly

    with ExitStack() as stack:
        if quiet:
            stack.enter_context(quietly())
        yield Console(quiet=quiet, stderr=as_json or to_error)


def say_next(console: Console, stage: str, run: Path) -> None:
    """What to run next."""
    console.print(
        f"Next: [bold]affinity {stage} {escape(shlex.quote(str(run)))}[/bold]", soft_wrap=True
    )


def say_answer(console: Console, measured: "Audit", *, as_json: bool, junit: Path | None) -> None:
    """The audit in words, and in the forms asked for."""
    from affinity.cli.junit import write_junit
    from affinity.cli.summary import show_audit

    show_audit(console, measured)
    if as_json:
        sys.stdout.write(measured.to_json())
    if junit is not None:
        write_junit(measured, junit)
        console.print(f"Wrote {escape(str(junit))}")


def fail_if_harmed(console: Console, measured: "Audit", fail_on: str | None) -> None:
    """Leave with the exit code for harm, where that was asked for and a task is harmed."""
    if fail_on is None:
        return
    harmed = [task for task, each in measured.verdicts.items() if each.verdict == fail_on]
    if harmed:
        console.print(f"[bold red]The plan harms {escape(', '.join(harmed))}.[/bold red]")
        raise typer.Exit(HARMED)
