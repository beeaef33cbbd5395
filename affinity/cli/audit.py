"""`affinity audit`: from a table to an audited answer, in stages that are kept as they finish."""

import os
import shlex
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.markup import escape

from affinity.audit import retrain
from affinity.errors import DivergenceError, InputError
from affinity.estimates import ESTIMATORS, AffinityMatrix
from affinity.files import write_atomically
from affinity.grouping import solve
from affinity.problems import Problem, record
from affinity.progress import quiet as quietly
from affinity.recommendation import recommend
from affinity.recording import Trace

from .options import AuditOptions, gather, settings_of
from .run_directory import RunDirectory
from .stopped import Stopped
from .summary import show_audit, show_problem

DATA, NETWORK, AUDIT, OUTPUT = "Data", "Network", "Audit", "Output"


def audit(
    source: Annotated[
        str | None,
        typer.Argument(help="A table (CSV, also compressed, or Parquet), or 'digits'."),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(help="Columns to predict, with commas between.", rich_help_panel=DATA),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="One column to predict; repeat it.", rich_help_panel=DATA),
    ] = None,
    task_column: Annotated[
        str | None,
        typer.Option(
            help="Long table: the column that says which task a row belongs to.",
            rich_help_panel=DATA,
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=binary, classes or regression, where it should not be found.",
            rich_help_panel=DATA,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="A column to leave out; repeat it.", rich_help_panel=DATA),
    ] = None,
    time_column: Annotated[
        str | None,
        typer.Option(help="Judge on the latest rows by this column.", rich_help_panel=DATA),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="Judge on the rows it calls 'test'.", rich_help_panel=DATA),
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(help="Share of rows set aside to judge. [0.25]", rich_help_panel=DATA),
    ] = None,
    validation_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the others that decides when to stop. [0.2]", rich_help_panel=DATA
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(help="Width of the trunk.", rich_help_panel=NETWORK)
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Layers of the trunk.", rich_help_panel=NETWORK)
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs at most.", rich_help_panel=NETWORK)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows a step.", rich_help_panel=NETWORK)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Step size of Adam.", rich_help_panel=NETWORK)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Epochs without progress before stopping.", rich_help_panel=NETWORK),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(help="Networks at most. [a third of the tasks]", rich_help_panel=AUDIT),
    ] = None,
    overlap: Annotated[
        bool | None,
        typer.Option(
            "--overlap/--disjoint",
            help="Whether a task may help in networks that do not serve it. [disjoint]",
            rich_help_panel=AUDIT,
        ),
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            help=f"How affinity is estimated: {', '.join(ESTIMATORS)}.", rich_help_panel=AUDIT
        ),
    ] = None,
    replicates: Annotated[
        int | None,
        typer.Option(
            help="Resamplings of rows and seeds. [10; 5 from 21 tasks]", rich_help_panel=AUDIT
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(help="Measure affinity every so many steps. [10]", rich_help_panel=AUDIT),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Decides all random numbers. [0]", rich_help_panel=AUDIT)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run. [runs/NAME]", rich_help_panel=OUTPUT),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file with any of these options.", rich_help_panel=OUTPUT),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Say only what went wrong.", rich_help_panel=OUTPUT)
    ] = False,
    debug: Annotated[  # noqa: ARG001
        bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=OUTPUT)
    ] = False,
) -> None:
    """Find out which tasks should share a network, and what that is worth.

    One multi-task run is recorded, affinities are estimated, tasks are grouped within the budget,
    and the plan is retrained beside separate networks and all-in-one. A folder keeps it all; the
    same command goes on where it was stopped.

    [bold]Examples[/bold]

      affinity audit digits
      affinity audit table.csv.gz --targets income,married,college --budget 2
      affinity audit long.parquet --task-column school --target score
      affinity audit visits.csv --targets click,buy --time-column day --kind buy=binary
    """
    options = gather(
        {
            "source": source,
            "targets": [*(targets.split(",") if targets else ()), *(target or ())],
            "task_column": task_column,
            "kinds": kind,
            "exclude": exclude,
            "time_column": time_column,
            "split_column": split_column,
            "test_share": test_share,
            "validation_share": validation_share,
            "width": width,
            "depth": depth,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "patience": patience,
            "budget": budget,
            "overlap": overlap,
            "estimator": estimator,
            "replicates": replicates,
            "every": every,
            "seed": seed,
        },
        config,
    )
    console = Console(quiet=quiet)
    with quietly() if quiet else nullcontext():
        run_audit(options, out, console, command="affinity " + shlex.join(sys.argv[1:]))


def run_audit(
    options: AuditOptions, out: Path | None, console: Console, command: str
) -> RunDirectory:
    """Every stage of an audit, into its folder.

    Raises:
        InputError: If options or data cannot be used.
        DivergenceError: If a training diverged.
    """
    _check(options)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)  # networks this small only wait for each other's threads
    problem = options.problem()
    budget = options.budget_for(len(problem.tasks))
    replicates = options.replicates_for(len(problem.tasks))
    what = {
        "options": options.plain(),
        "fingerprint": problem.provenance.get("fingerprint", "built in"),
    }
    run = RunDirectory(out) if out else RunDirectory.fresh(Path("runs") / problem.name, what)
    about = {"command": command, "versions": _versions()}
    run.open(what, about)
    show_problem(console, problem)

    with _kept(run):
        trace = _recorded(problem, options, run, console)
        with _stage(run, "estimate"):
            matrix = ESTIMATORS[options.estimator]()(trace)
            write_atomically(run.file("affinity.csv"), matrix.frame().to_csv(index=False))
            grouping = solve(_without_gaps(matrix, console), budget=budget, overlap=options.overlap)
            plan = recommend(matrix, grouping, {"problem": problem.name, "budget": budget})
            plan.to_yaml(run.file("plan.yaml"))
        console.print(
            f"Retraining the plan ({len(grouping.networks)} networks) beside separate networks and "
            f"all-in-one, {replicates} replicates ..."
        )
        with _stage(run, "retrain"):
            audit = retrain(
                plan,
                problem,
                replicates,
                seed=options.seed + 1,
                matrix=matrix,
                context={
                    **about,
                    "seed": options.seed,
                    "every": options.every,
                    "budget": budget,
                    "settings": settings_of(problem.settings),
                    "measurements": len(trace),
                },
            )
        audit.to_json(run.file("audit.json"))
        page = audit.report(run.file("report.html"), trace=trace)
    show_audit(console, audit)
    console.print(f"Report: [bold]{escape(str(page))}[/bold]")
    return run


def _check(options: AuditOptions) -> None:
    if options.estimator not in ESTIMATORS:
        raise InputError(
            f"Expected one of the estimators {list(ESTIMATORS)}, but got {options.estimator!r}."
        )
    if options.every < 1:
        raise InputError(f"Expected every of at least 1, but got {options.every}.")
    if options.budget is not None and options.budget < 1:
        raise InputError(f"Expected a budget of at least 1, but got {options.budget}.")


def _recorded(
    problem: Problem, options: AuditOptions, run: RunDirectory, console: Console
) -> Trace:
    file = run.file("trace.safetensors")
    if file.exists() and "record" in run.seconds:
        console.print(f"The recorded run is there: {escape(str(file))}")
        return Trace.load(file)
    console.print("Recording one run of all tasks in one network ...")
    with _stage(run, "record"):
        trace = record(
            problem,
            every=options.every,
            seed=options.seed,
            partial=run.file("trace.partial.safetensors"),
        )
        trace.save(file)
    return trace


def _without_gaps(matrix: AffinityMatrix, console: Console) -> AffinityMatrix:
    """Pairs that were never measured count as 0: neither help nor harm is known."""
    n_missing = int((matrix.values.isnan() & ~torch.eye(len(matrix.tasks)).bool()).sum())
    if n_missing:
        console.print(
            f"[yellow]Note:[/yellow] {n_missing} pairs of tasks were never measured together; "
            "they count as 0."
        )
    return AffinityMatrix(
        tasks=matrix.tasks,
        values=matrix.values.nan_to_num(nan=0.0),
        standard_error=matrix.standard_error,
        n_steps=matrix.n_steps,
        estimator=matrix.estimator,
    )


@contextmanager
def _stage(run: RunDirectory, name: str) -> Generator[None]:
    start = time.perf_counter()
    yield
    run.note(name, time.perf_counter() - start)


@contextmanager
def _kept(run: RunDirectory) -> Generator[None]:
    """Say what is kept when a run breaks off."""
    try:
        yield
    except (KeyboardInterrupt, DivergenceError) as error:
        kept = sorted(file.name for file in run.path.iterdir() if not file.name.startswith("."))
        message = f"Kept in {run.path}: {', '.join(kept)}. The same command goes on from there."
        if isinstance(error, KeyboardInterrupt):
            raise Stopped(message) from error
        error.add_note(message)
        raise


def _versions() -> dict[str, Any]:
    names = ("task-affinity", "torch", "scikit-learn", "numpy", "pandas")
    versions = {"python": sys.version.split()[0]}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    return versions
