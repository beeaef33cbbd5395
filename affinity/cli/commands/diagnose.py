"""`affinity diagnose`: why sharing harms."""

import json
from typing import Annotated

import typer

from affinity.cli import flags

from .telling import said, say_next


def diagnose(
    run: flags.Run,
    plan: Annotated[
        str | None,
        typer.Option(help="Explain this plan: a YAML file, or 'separate'. \\[all-in-one]"),
    ] = None,
    replicates: Annotated[int, typer.Option(help="Resamplings of rows and seeds.")] = 6,
    quick: flags.Quick = False,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Find out why sharing harms, by taking one cause after the other away -> diagnosis.json.

    Capacity (wider trunks), optimization (loss scales, pace, conflicts), data (fewer rows), and
    mismatch (what is left; branches, tasks apart), each with what it recovers and costs.
    """
    from affinity.cli.causes import show_diagnosis
    from affinity.cli.opening import resumed
    from affinity.cli.stages.diagnose import diagnosed
    from affinity.storage import to_jsonable

    with said(quiet, as_json) as console, resumed(run, console) as work:
        diagnosis = diagnosed(work, plan, replicates, quick)
        show_diagnosis(console, diagnosis)
        if as_json:
            print(json.dumps(to_jsonable(diagnosis.summary()), ensure_ascii=False))
        say_next(console, "report", run)
