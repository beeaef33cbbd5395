"""Traces that were recorded elsewhere: their affinities in the terminal, and their page."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from affinity.errors import InputError, check_choice
from affinity.estimates import ESTIMATORS, AffinityMatrix
from affinity.files import write_atomically
from affinity.recording import Trace
from affinity.report import write_figures, write_report
from affinity.report.numbers import number
from affinity.storage import load, save

from .console import print_file, print_note, warnings_as_notes
from .early_checks import RECORD
from .options import EstimateOptions, EstimateSettings, ReportOptions
from .run_directory import FIGURES, PAGE

WITHOUT_LOOKAHEAD = "gradient cosine"  # for a trace without what the default needs
MOST_PRINTED = 12


def estimate_trace(options: EstimateOptions, console: Console) -> None:
    """Print the matrix of a trace with standard errors, and write it where it is asked for."""
    trace = read_trace(options.run)
    if options.out is not None and options.out.suffix not in {".csv", ".safetensors"}:
        raise InputError(
            f"Expected --out with a name ending in .csv or .safetensors, but got "
            f"{options.out.name!r}.",
            "unknown-format",
        )
    with warnings_as_notes(console):
        name, matrix = _estimate(trace, options.estimator, console)
    if options.json:
        print(matrix.frame().to_json(orient="records"))
    console.print(
        f"[bold]{escape(name)}[/bold], {len(trace):,} measurements of {len(trace.tasks)} tasks. "
        "Rows are sources, columns are targets; above 0 helps.",
        soft_wrap=True,
    )
    console.print(_table(matrix))
    if options.out is None:
        return
    if options.out.suffix == ".csv":
        write_atomically(options.out, matrix.frame().to_csv(index=False))
    else:
        save(matrix, options.out)
    print_file(console, "Affinities", options.out)


def report_trace(options: ReportOptions, console: Console) -> None:
    """Write the page of a trace, and its figures where they are asked for."""
    if options.run_b is not None:
        raise InputError(
            "Expected two folders of runs to compare, but the first is a file.", "no-run"
        )
    trace = read_trace(options.run)
    folder = options.run.parent
    if options.out is None and (folder / RECORD).exists():
        raise InputError(
            f"Expected --out FILE, since {str(folder / PAGE)!r} is the page of a run. The page of "
            f"the run itself: affinity report {folder}",
            "missing-out",
        )
    page = options.out or folder / PAGE
    formats = [name for name in ("png", "pdf", "svg") if getattr(options, name)]
    with warnings_as_notes(console):
        print_file(console, "Report", write_report(trace, page))
        for figure in write_figures(trace, page.parent / FIGURES, formats) if formats else ():
            print_file(console, "Figure", figure)


def refuse_out(out: Path | None) -> None:
    """Raise an error if --out is given for a run, whose files stay in its folder."""
    if out is not None:
        raise InputError(
            f"Expected no --out {str(out)!r}: a run writes into its own folder. It is for traces.",
            "unused-option",
        )


def read_trace(path: Path) -> Trace:
    """The trace in a file."""
    trace = load(path)
    if not isinstance(trace, Trace):
        raise InputError(
            f"Expected a trace in {str(path)!r}, written by recorder.trace().save(...), but it "
            f"holds an object of the type {type(trace).__name__}.",
            "no-trace",
        )
    if not len(trace):
        raise InputError(f"Expected measurements in {str(path)!r}, but it has none.", "empty-trace")
    return trace


def _estimate(trace: Trace, name: str, console: Console) -> tuple[str, AffinityMatrix]:
    check_choice("the estimator", name, ESTIMATORS, "unknown-estimator")
    try:
        return name, ESTIMATORS[name]()(trace)
    except InputError as error:
        if error.code != "missing-in-trace" or name != EstimateSettings().estimator:
            raise
        print_note(console, f"{error} Estimated by {WITHOUT_LOOKAHEAD!r} instead.")
        return WITHOUT_LOOKAHEAD, ESTIMATORS[WITHOUT_LOOKAHEAD]()(trace)


def _table(matrix: AffinityMatrix) -> Table:
    """The square of a few tasks, or the strongest pairs of many."""
    if len(matrix.tasks) > MOST_PRINTED:
        table = Table("source", "target", "affinity", "± standard error")
        pairs = matrix.frame()
        pairs = pairs[pairs["source"] != pairs["target"]]
        strongest = pairs["affinity"].abs().sort_values(ascending=False).index[:20]
        for row in pairs.loc[strongest].to_dict("records"):
            names = escape(str(row["source"])), escape(str(row["target"]))
            error = row.get("standard_error")
            table.add_row(*names, number(row["affinity"], True), number(error))
        return table
    table = Table("source", *map(escape, matrix.tasks))
    for row, source in enumerate(matrix.tasks):
        cells = [number(value, True) for value in matrix.values[row].tolist()]
        if matrix.standard_error is not None:
            errors = matrix.standard_error[row].tolist()
            cells = [f"{c} ± {number(e)}" for c, e in zip(cells, errors, strict=True)]
        table.add_row(escape(source), *cells)
    return table
