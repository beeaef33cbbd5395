"""The stage that reports: the page, and its pictures."""

from collections.abc import Sequence
from pathlib import Path

from affinity.audit import Audit, RepeatedHoldout
from affinity.cli.run_directory import RunDirectory
from affinity.cli.run_files import DIAGNOSIS, FIGURES, HOLDOUT, MEASUREMENTS, OUTER, PAGE, TRACE
from affinity.cli.work import Work
from affinity.recording import Trace
from affinity.report import write_figures, write_report
from affinity.storage import load_as

from .diagnose import diagnosis_of
from .retrain import audit_of


def reported(work: Work, audit: Audit | None = None, formats: Sequence[str] = ()) -> Path:
    """The page, and its pictures in these formats."""
    work.run.require("retrain")
    has_trace = work.run.is_done("record")
    inputs = {
        "measurements": work.run.hash_of(MEASUREMENTS),
        "trace": work.run.hash_of(TRACE) if has_trace else None,
        "diagnosis": work.run.hash_of(DIAGNOSIS),
        "outer": work.run.hash_of(OUTER),
        "formats": list(formats),
    }
    page = work.run.file(PAGE)
    if work.run.is_done("report", inputs):
        work.stands("The report", PAGE)
        return page
    audit = audit or audit_of(work)
    trace = Trace.load(work.run.file(TRACE)) if has_trace else None
    diagnosis, holdout = diagnosis_of(work), holdout_of(work.run)
    outputs = [PAGE]
    with work.run.stage("report", inputs, outputs):
        write_report(audit, page, trace=trace, diagnosis=diagnosis, holdout=holdout)
        if formats:
            figures = write_figures(
                audit, work.run.file(FIGURES), formats, trace=trace, diagnosis=diagnosis
            )
            outputs += [str(figure.relative_to(work.run.path)) for figure in figures]
    work.wrote("report", f"{1 + len(outputs[1:])} files" if formats else "one page", outputs)
    return page


def holdout_of(run: RunDirectory) -> RepeatedHoldout | None:
    """The repeated hold-out whose first audit is this one; None where there is none."""
    file = run.file(HOLDOUT)
    if not file.exists():
        return None
    holdout = load_as(RepeatedHoldout, file)
    audit = load_as(Audit, run.file(MEASUREMENTS))
    return holdout if holdout.audits[0].overall == audit.overall else None
