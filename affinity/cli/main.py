"""The command's entry: parse the options, run the command, report errors."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, Group, MissingArgumentError
from rich.console import Console
from rich.markup import escape

from affinity.errors import DivergenceError, InputError

from . import commands, study_commands
from .console import Stopped
from .defaults import add_defaults
from .options import ARGUMENTS

INVALID_INPUT, DIVERGED, INTERRUPTED = 2, 1, 130


def make_app() -> App:
    """The parser: one command per function, its options from the dataclass that it takes."""
    app = App(
        name="affinity",
        help="Find out which tasks should share a network, and how much that gains.\n\n"
        "Start with the built-in example: affinity audit digits",
        help_epilogue="Exit codes: 0 done; 1 a training diverged; 2 invalid input; 3 the plan "
        "harms a task or the tasks on average (--fail-on harmful); 130 stopped with Ctrl-C.",
        help_format="plaintext",
        version=_version,
        version_flags=("--version",),
        group_arguments=ARGUMENTS,
        config=add_defaults,
        result_action="return_value",
    )
    study = App(
        name="study",
        help="Find out which tasks of any training should share: functions, scripts, clusters.\n\n"
        "A study decides which groups of tasks are trained, with your own command; it keeps every "
        "result in a folder, and audits the grouping that is best.",
        group=Group("Your own training", sort_key=1),
        group_arguments=ARGUMENTS,
        version_flags=(),
    )
    for name, command in study_commands.COMMANDS.items():
        study.command(command, name=name, help=_reflow(command), sort_key=len(list(study)))
    panels = {
        "From a table": ("audit", "transfer", "fewshot", "compare_objectives"),
        "Stages": ("record", "estimate", "group", "retrain", "diagnose", "report"),
        "Finished runs": ("compare", "predict"),
        "Information": ("problems", "schema"),
    }
    for number, (heading, names) in enumerate(panels.items()):
        group = Group(heading, sort_key=2 * number)
        for name in names:
            command = getattr(commands, name)
            app.command(command, help=_reflow(command), group=group, sort_key=len(list(app)))
    app.command(study)
    app["--help"].group = app["schema"].group
    return app


def _version() -> str:
    from importlib import metadata

    return metadata.version("task-affinity")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit; errors that a user can fix are printed without a traceback."""
    arguments = _name_standard_input(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    app = make_app()
    app.register_install_completion_command(add_to_startup=False)
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        code = _report(console, _explain(error), "usage", INVALID_INPUT, arguments)
    except InputError as error:
        code = _report(console, error, error.code, INVALID_INPUT, arguments)
    except DivergenceError as error:
        code = _report(console, error, "diverged", DIVERGED, arguments)
    except Stopped as error:
        console.print("[bold]Stopped.[/bold] " + escape(str(error)), soft_wrap=True)
        code = INTERRUPTED
    sys.exit(code or 0)


def _name_standard_input(arguments: Sequence[str]) -> list[str]:
    """The arguments with a source of `-` by name: the parser takes it for an option."""
    previous = ["", *arguments]
    return [
        "--source=-" if word == "-" and not before.startswith("-") else word
        for before, word in zip(previous, arguments, strict=False)
    ]


def _explain(error: CycloptsError) -> Exception:
    """The parser's message, except for a missing argument without a flag."""
    if isinstance(error, MissingArgumentError) and error.argument and error.argument.index == 0:
        name = error.argument.field_info.name.upper()
        return InputError(f"Missing argument {name}; --help shows how to call the command.")
    return error


def _reflow(command: Callable[..., object]) -> str:
    """The command's docstring, one line per paragraph; indented lines stay as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", inspect.getdoc(command) or "")


def _report(
    console: Console, error: Exception, code: str, exit_code: int, arguments: Sequence[str]
) -> int:
    if "--debug" in arguments:
        console.print_exception()
    notes = " ".join(getattr(error, "__notes__", ()))
    console.print(
        f"[bold red]Error[/bold red] ({code}): {escape(f'{error} {notes}'.strip())}", soft_wrap=True
    )
    return exit_code
