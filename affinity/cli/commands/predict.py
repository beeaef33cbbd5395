"""`affinity predict`: new rows through kept networks."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from affinity.cli import flags

from .telling import said


def predict(
    run: flags.Run,
    table: Annotated[Path, typer.Argument(help="Rows to predict: CSV or Parquet.")],
    out: Annotated[
        Path | None, typer.Option(help="The CSV file to write. \\[standard output]")
    ] = None,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Predict new rows with the networks that `retrain --keep` or `audit --keep` kept."""
    from affinity.cli.predict import predictions
    from affinity.files import write_atomically

    with said(False, to_error=True) as console:
        text = predictions(run, table).to_csv(index=False)
        if out is None:
            sys.stdout.write(text)
        else:
            console.print(f"Wrote {escape(str(write_atomically(out, text)))}")
