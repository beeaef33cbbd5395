"""Report stage: one self-contained page, and its figures."""

from collections.abc import Sequence
from pathlib import Path

from affinity.cli.run import Run
from affinity.cli.run_directory import (
    DIAGNOSIS,
    FIGURES,
    HOLDOUT,
    MEASUREMENTS,
    OBJECTIVES,
    PAGE,
    TRACE,
)
from affinity.report import write_figures, write_report


def report_stage(run: Run, formats: Sequence[str] = ()) -> Path:
    """Write the page, and its figures in these formats; return the page's path."""
    directory, page = run.directory, run.directory.file(PAGE)
    directory.require("retrain")
    has_trace = directory.is_done("record")
    inputs: dict[str, object] = {
        "measurements": directory.hash_of(MEASUREMENTS),
        "trace": directory.hash_of(TRACE) if has_trace else None,
        "diagnosis": directory.hash_of(DIAGNOSIS),
        "test_splits": directory.hash_of(HOLDOUT),
        "objectives": directory.hash_of(OBJECTIVES),
        "formats": list(formats),
    }
    if directory.is_done("report", inputs):
        run.print_skipped("report", PAGE)
        return page
    trace, diagnosis = run.trace if has_trace else None, run.diagnosis
    outputs = [PAGE]
    with directory.stage("report", inputs, outputs):
        write_report(
            run.audit,
            page,
            trace=trace,
            diagnosis=diagnosis,
            holdout=run.holdout,
            objectives=run.objectives,
        )
        if formats:
            figures = write_figures(
                run.audit, directory.file(FIGURES), formats, trace=trace, diagnosis=diagnosis
            )
            outputs += [str(figure.relative_to(directory.path)) for figure in figures]
    summary = f"{len(outputs)} files" if formats else "one page"
    run.print_finished("report", summary, outputs)
    return page
