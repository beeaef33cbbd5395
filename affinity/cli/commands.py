"""The commands, one a stage: what can be typed; each imports what it needs when it is called."""

import json
import shlex
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from . import flags

if TYPE_CHECKING:
    from affinity.audit import Audit

HARMED = 3
"""Exit code of --fail-on harmful when the plan harms a task."""


def audit(
    source: flags.Source = None,
    targets: flags.Targets = None,
    target: flags.Target = None,
    task_column: flags.TaskColumn = None,
    kind: flags.KindOf = None,
    exclude: flags.Exclude = None,
    time_column: flags.TimeColumn = None,
    split_column: flags.SplitColumn = None,
    test_share: flags.TestShare = None,
    validation_share: flags.ValidationShare = None,
    width: flags.Width = None,
    depth: flags.Depth = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    learning_rate: flags.LearningRate = None,
    patience: flags.Patience = None,
    every: flags.Every = None,
    runs: flags.Runs = None,
    seed: flags.Seed = None,
    estimator: flags.Estimator = None,
    budget: flags.Budget = None,
    overlap: flags.Overlap = None,
    sharing: flags.SharingChoice = None,
    verify: flags.Verify = None,
    race_minutes: flags.RaceMinutes = None,
    plan: flags.PlanChoice = None,
    replicates: flags.Replicates = None,
    minutes: flags.Minutes = None,
    max_replicates: flags.MaxReplicates = None,
    baselines: flags.Baselines = None,
    keep: flags.Keep = False,
    backend: flags.Backend = None,
    out: flags.Out = None,
    config: flags.Config = None,
    fail_on: flags.FailOn = None,
    as_json: flags.AsJson = False,
    junit: flags.Junit = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Find out which tasks should share a network, and what that is worth: all stages.

    One multi-task run is recorded, affinities are estimated, contending groupings race within the
    budget, and the one that won is retrained beside its baselines. A folder keeps it all; the same
    command goes on where it was stopped, and does nothing again that did not change.

    [bold]Examples[/bold]

      affinity audit digits
      affinity audit table.csv.gz --targets income,married,college --budget 2
      affinity audit long.parquet --task-column school --target score
      affinity audit visits.csv --targets click,buy --time-column day --kind buy=binary
      affinity audit digits --plan mine.yaml --fail-on harmful --junit audit.xml
    """
    from .options import gather
    from .stages import started

    options = gather(_recorded_options(locals()) | _later_options(locals()), config)
    with _said(quiet, as_json) as console:
        with started(options, out, console, _typed()) as stages:
            trace = stages.record()
            matrix = stages.estimate(trace)
            chosen = (
                stages.group(matrix, trace) if options.plan is None else stages.plan(options.plan)
            )
            measured = stages.retrain(chosen, keep=keep, backend=backend)
            page = stages.report(measured)
        _answer(console, measured, as_json=as_json, junit=junit)
        console.print(f"Report: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
    _fail(console, measured, fail_on)


def record(
    source: flags.Source = None,
    targets: flags.Targets = None,
    target: flags.Target = None,
    task_column: flags.TaskColumn = None,
    kind: flags.KindOf = None,
    exclude: flags.Exclude = None,
    time_column: flags.TimeColumn = None,
    split_column: flags.SplitColumn = None,
    test_share: flags.TestShare = None,
    validation_share: flags.ValidationShare = None,
    width: flags.Width = None,
    depth: flags.Depth = None,
    epochs: flags.Epochs = None,
    batch_size: flags.BatchSize = None,
    learning_rate: flags.LearningRate = None,
    patience: flags.Patience = None,
    every: flags.Every = None,
    runs: flags.Runs = None,
    seed: flags.Seed = None,
    out: flags.Out = None,
    config: flags.Config = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,
) -> None:
    """Watch one multi-task run: gradients and lookahead losses a task -> trace.safetensors.

    [bold]Example[/bold]

      affinity record table.csv --targets income,married,college --out runs/census
    """
    from .options import gather
    from .stages import started

    options = gather(_recorded_options(locals()), config)
    with _said(quiet) as console, started(options, out, console, _typed()) as stages:
        stages.record()
        _next(console, "estimate", stages.run.path)


def estimate(
    run: flags.Run,
    estimator: flags.Estimator = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Estimate what every task does to every other, with errors -> affinity.csv."""
    from .stages import resumed

    with _said(quiet, as_json) as console, resumed(run, console, estimator=estimator) as stages:
        matrix = stages.estimate()
        if as_json:
            print(matrix.frame().to_json(orient="records"))
        _next(console, "group", run)


def group(
    run: flags.Run,
    budget: flags.Budget = None,
    overlap: flags.Overlap = None,
    sharing: flags.SharingChoice = None,
    verify: flags.Verify = None,
    race_minutes: flags.RaceMinutes = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Group the tasks within a budget -> plan.yaml, which is meant to be edited.

    frontier.csv has the best grouping for every other budget.
    """
    from .stages import resumed
    from .summary import show_plan

    with (
        _said(quiet, as_json) as console,
        resumed(
            run,
            console,
            budget=budget,
            overlap=overlap,
            sharing=sharing,
            verify=verify,
            race_minutes=race_minutes,
        ) as stages,
    ):
        plan = stages.group()
        show_plan(console, plan)
        if as_json:
            print(json.dumps(plan.plain(), ensure_ascii=False))
        _next(console, "retrain", run)


def retrain(
    run: flags.Run,
    plan: flags.PlanChoice = None,
    replicates: flags.Replicates = None,
    minutes: flags.Minutes = None,
    max_replicates: flags.MaxReplicates = None,
    baselines: flags.Baselines = None,
    keep: flags.Keep = False,
    backend: flags.Backend = None,
    fail_on: flags.FailOn = None,
    as_json: flags.AsJson = False,
    junit: flags.Junit = None,
    quiet: flags.Quiet = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Train a plan beside separate networks and all-in-one, and judge it -> audit.json.

    The plan is the run's plan.yaml, edited or not, or what you do today: --plan mine.yaml.
    """
    from .stages import resumed

    with (
        _said(quiet, as_json) as console,
        resumed(
            run,
            console,
            replicates=replicates,
            minutes=minutes,
            max_replicates=max_replicates,
            baselines=baselines,
        ) as stages,
    ):
        measured = stages.retrain(stages.plan(plan), keep=keep, backend=backend)
        _answer(console, measured, as_json=as_json, junit=junit)
        if keep:
            console.print(f"Predict with it: affinity predict {shlex.quote(str(run))} new.csv")
        _next(console, "report", run)
    _fail(console, measured, fail_on)


def diagnose(
    run: flags.Run,
    plan: Annotated[
        str | None,
        typer.Option(help="Explain this plan: a YAML file, or 'separate'. [all-in-one]"),
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
    from .causes import diagnose_run, show_diagnosis
    from .stages import resumed

    with _said(quiet, as_json) as console, resumed(run, console) as stages:
        diagnosis = diagnose_run(stages, plan, replicates, quick)
        show_diagnosis(console, diagnosis)
        if as_json:
            print(json.dumps(diagnosis, ensure_ascii=False))
        _next(console, "report", run)


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
    from .stages import resumed

    chosen = {"png": png, "pdf": pdf, "svg": svg}
    with _said(quiet) as console, resumed(run, console) as stages:
        if other is not None:
            from .compare import write_page

            page = write_page(run, other)
            console.print(f"Comparison: [bold]{escape(str(page))}[/bold]", soft_wrap=True)
            return
        page = stages.report(formats=[name for name, wanted in chosen.items() if wanted])
        console.print(f"Report: [bold]{escape(str(page))}[/bold]", soft_wrap=True)


def compare(
    first: Annotated[Path, typer.Argument(help="The folder of a run.", metavar="RUN_A")],
    second: Annotated[Path, typer.Argument(help="The folder of another.", metavar="RUN_B")],
    as_json: flags.AsJson = False,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Compare two audits of the same tasks: before and after, two estimators, two seeds."""
    from .compare import compare_runs, show_comparison

    with _said(False, as_json) as console:
        comparison = compare_runs(first, second)
        show_comparison(console, comparison)
        if as_json:
            print(json.dumps(comparison, ensure_ascii=False))


def predict(
    run: flags.Run,
    table: Annotated[Path, typer.Argument(help="Rows to predict: CSV or Parquet.")],
    out: Annotated[
        Path | None, typer.Option(help="The CSV file to write. [standard output]")
    ] = None,
    debug: flags.Debug = False,  # noqa: ARG001
) -> None:
    """Predict new rows with the networks that `retrain --keep` or `audit --keep` kept."""
    from affinity.files import write_atomically

    from .predict import predictions

    with _said(False, to_error=True) as console:
        text = predictions(run, table).to_csv(index=False)
        if out is None:
            sys.stdout.write(text)
        else:
            console.print(f"Wrote {escape(str(write_atomically(out, text)))}")


def schema(debug: flags.Debug = False) -> None:  # noqa: ARG001
    """Print the JSON Schema of audit.json and of the result inside the page."""
    from affinity.report import schema as schema_of

    print(json.dumps(schema_of(), indent=1, ensure_ascii=False))


def problems(debug: flags.Debug = False) -> None:  # noqa: ARG001
    """List what is built in: problems, estimators, solvers, ways to share."""
    from .built_in import show_built_in

    show_built_in(Console())


def _recorded_options(given: dict[str, Any]) -> dict[str, Any]:
    """What decides the recorded run, out of a command's arguments."""
    names = (
        "source task_column exclude time_column split_column test_share validation_share width "
        "depth epochs batch_size learning_rate patience every runs seed"
    )
    targets = given["targets"].split(",") if given["targets"] else ()
    return {
        **{name: given[name] for name in names.split()},
        "targets": [*targets, *(given["target"] or ())],
        "kinds": given["kind"],
    }


def _later_options(given: dict[str, Any]) -> dict[str, Any]:
    from .run_directory import LATER_OPTIONS

    return {name: given[name] for name in LATER_OPTIONS}


def _typed() -> str:
    return "affinity " + shlex.join(sys.argv[1:])


@contextmanager
def _said(quiet: bool, as_json: bool = False, to_error: bool = False) -> Generator[Console]:
    """Where words go: standard output, or standard error where that is for the result."""
    from affinity.progress import quiet as quietly

    with ExitStack() as stack:
        if quiet:
            stack.enter_context(quietly())
        yield Console(quiet=quiet, stderr=as_json or to_error)


def _next(console: Console, stage: str, run: Path) -> None:
    console.print(
        f"Next: [bold]affinity {stage} {escape(shlex.quote(str(run)))}[/bold]", soft_wrap=True
    )


def _answer(console: Console, measured: "Audit", *, as_json: bool, junit: Path | None) -> None:
    from .junit import write_junit
    from .summary import show_audit

    show_audit(console, measured)
    if as_json:
        sys.stdout.write(measured.to_json())
    if junit is not None:
        write_junit(measured, junit)
        console.print(f"Wrote {escape(str(junit))}")


def _fail(console: Console, measured: "Audit", fail_on: str | None) -> None:
    if fail_on is None:
        return
    harmed = [task for task, each in measured.verdicts.items() if each.verdict == fail_on]
    if harmed:
        console.print(f"[bold red]The plan harms {escape(', '.join(harmed))}.[/bold red]")
        raise typer.Exit(HARMED)
