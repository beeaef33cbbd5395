"""`affinity report`: the page and its pictures, or two audits side by side."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from affinity.cli import flags

from .telling import said


def report(
    run: flags.Run,
    other: Annotated[
        Path | None,
        typer.Argument(help="Compare with this run -> comparison.html.", metavar="[RUN_B]"),
    ] = None,
    png: flags.Png = False,
    pdf: flags.Pdf = False,
    svg: flags.Svg = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Write the page, one self-contained file -> report.html, and its pictures -> figures/."""
    from affinity.cli.opening import resumed
    from affinity.cli.stages.report import reported

    chosen = {"png": png, "pdf": pdf, "svg": svg}
    with said(quiet) as console, resumed(run, console) as work:
        if other is not None:
            from affinity.cli.compare import write_page

            page = write_page(run, other)
            console.print(f"Comparison: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
            return
        page = reported(work, formats=[name for name, wanted in chosen.items() if wanted])
        console.print(f"Report: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
