"""The command's entry: its stages, and what errors look like to a person."""

import sys
from collections.abc import Sequence

import typer
from rich.console import Console
from rich.markup import escape

from affinity.errors import DivergenceError, InputError

from . import commands
from .stopped import Stopped

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    name="affinity",
    help="Find out which tasks should share a network, and what that is worth.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
STAGES, OTHERS = "Stages", "With finished runs"
app.command()(commands.audit)
app.command()(commands.fewshot)
app.command()(commands.transfer)
for command in (
    commands.record,
    commands.estimate,
    commands.group,
    commands.retrain,
    commands.diagnose,
    commands.report,
):
    app.command(rich_help_panel=STAGES)(command)
for command in (commands.compare, commands.predict):
    app.command(rich_help_panel=OTHERS)(command)
for command in (commands.schema, commands.problems):
    app.command()(command)


@app.callback(
    epilog="Exit codes: 0 done; 1 a training diverged; 2 something passed in cannot be used; 3 the "
    "plan harms a task (--fail-on harmful); 130 stopped with Ctrl-C."
)
def _commands() -> None:  # pyright: ignore[reportUnusedFunction]
    """Find out which tasks should share a network, and what that is worth.

    Start with the built-in example: [bold]affinity audit digits[/bold]
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors that a person can mend are said in words, without a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    try:
        code = app(arguments, standalone_mode=False)
    except InputError as error:
        code = _say(console, error, BAD_INPUT, arguments)
    except DivergenceError as error:
        code = _say(console, error, FAILED, arguments)
    except Stopped as error:
        console.print("[bold]Stopped.[/bold] " + escape(str(error)), soft_wrap=True)
        code = INTERRUPTED
    except typer.Exit as error:
        code = error.exit_code
    except Exception as error:
        if not hasattr(error, "exit_code"):  # not one of the parser's own
            raise
        error.show()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        code = BAD_INPUT
    sys.exit(code or 0)


def _say(console: Console, error: Exception, code: int, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        console.print_exception()
    notes = " ".join(getattr(error, "__notes__", ()))
    console.print(
        f"[bold red]Error:[/bold red] {escape(str(error))} {escape(notes)}", soft_wrap=True
    )
    return code
