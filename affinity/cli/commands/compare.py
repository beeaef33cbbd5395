"""`affinity compare`: two audits side by side, in the terminal."""

import json
from pathlib import Path
from typing import Annotated

import typer

from affinity.cli import flags

from .telling import said


def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a run.", metavar="RUN_A")],
    second: Annotated[Path, typer.Argument(help="The folder of another.", metavar="RUN_B")],
    as_json: flags.AsJson = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Compare two audits of the same tasks: before and after, two estimators, two seeds."""
    from affinity.cli.compare import compare_runs, show_comparison

    with said(False, as_json) as console:
        comparison = compare_runs(first, second)
        show_comparison(console, comparison)
        if as_json:
            print(json.dumps(comparison, ensure_ascii=False))
