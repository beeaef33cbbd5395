"""Console: where a command's text goes, and how warnings, errors and next steps look."""

import json
import os
import shlex
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

LOG_WIDTH = 100  # characters per line in logs and pipes, in which no table is cut


class Stopped(Exception):  # noqa: N818
    """The user pressed Ctrl-C; the message says what is saved."""


@contextmanager
def open_console(quiet: bool = False, is_error: bool = False) -> Generator[Console]:
    """A console on standard output, or on standard error if the result goes to standard output."""
    from affinity.progress import quiet as hide_progress

    with ExitStack() as stack:
        if quiet:
            stack.enter_context(hide_progress())
        console = Console(quiet=quiet, stderr=is_error)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = LOG_WIDTH
        yield console


@contextmanager
def warnings_as_notes(console: Console) -> Generator[None]:
    """Print every warning inside this block as a note, each text once, without source lines."""
    shown: set[str] = set()

    def show(message: Warning | str, *where: object, **more: object) -> None:
        del where, more
        text = str(message)
        if text not in shown:
            shown.add(text)
            print_note(console, text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def print_note(console: Console, text: str, is_warning: bool = False) -> None:
    """Print a note on the data or the result; a warning says that something may be wrong."""
    mark = "[bold red]Warning:[/bold red]" if is_warning else "[yellow]Note:[/yellow]"
    console.print(f"{mark} {escape(text)}")


def plain_table(*headings: str) -> Table:
    """A table without lines; a heading that ends with ">" is that of a column of numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        is_number = heading.endswith(">")
        justify = "right" if is_number else "left"
        is_whole = is_number or heading == "verdict"
        table.add_column(heading.removesuffix(">"), justify=justify, no_wrap=is_whole)
    return table


def print_json(value: object, indent: int | None = None) -> None:
    """Print a value, such as a summary, as JSON to standard output."""
    from affinity.storage import to_jsonable

    print(json.dumps(to_jsonable(value), ensure_ascii=False, indent=indent))


def print_next(console: Console, stage: str, run: Path) -> None:
    """Print the command that comes next."""
    console.print(
        f"Next: [bold]affinity {stage} {escape(shlex.quote(str(run)))}[/bold]", soft_wrap=True
    )


def print_file(console: Console, label: str, file: Path) -> None:
    """Print a file's path."""
    console.print(f"{label}: [bold]{escape(str(file))}[/bold]", soft_wrap=True)
