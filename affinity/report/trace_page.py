"""The page of a recorded run: estimated affinities, conflict, what was shared, and the cost."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from affinity.audit import SEVERITIES, Alert
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.estimates.relative import RatioWarning
from affinity.recording import Trace
from affinity.words import count

from .estimate_alerts import trace_alerts
from .figures import page_figures
from .headline import Headline
from .key_numbers import KeyNumber
from .numbers import number, percent
from .page_result import MatrixSummary, summarize_matrices
from .pictures import matrices_of, title_of, trace_pictures
from .provenance import describe_cost
from .rendering import render


@dataclass(frozen=True)
class TaskRow:
    """A task in the recorded run."""

    task: str
    measured: int  # number of measurements in which it was present
    first: float | None  # loss at the first of them
    last: float | None  # loss at the last of them
    norm: float | None  # median norm of its gradient on the shared parameters


@dataclass(frozen=True)
class TraceSummary:
    """What the page of a recorded run shows, for programs."""

    tasks: tuple[TaskRow, ...]
    steps: tuple[int, int]  # the first and the last one measured
    measurements: int  # how many
    alerts: tuple[Alert, ...]
    affinity: tuple[MatrixSummary, ...]


def trace_page_of(trace: Trace) -> str:
    """The page as text; the same trace gives the same text."""
    if not len(trace):
        raise InputError("Expected a trace with measurements, but it is empty.", "empty-trace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RatioWarning)
        matrices = matrices_of(trace)
        pictures = trace_pictures(trace, matrices)
        figures = page_figures(pictures, matrices, count(len(trace.tasks), "task"))
        alerts = trace_alerts(matrices[0], trace)
        alerts.sort(key=lambda alert: SEVERITIES.index(alert.severity))
        result = TraceSummary(
            tasks=_task_rows(trace),
            steps=(int(trace.steps.min()), int(trace.steps.max())),
            measurements=len(trace),
            alerts=tuple(alerts),
            affinity=summarize_matrices(matrices),
        )
        return render(
            "trace.html.j2",
            title=f"Recorded run of {count(len(trace.tasks), 'task')}",
            result=result,
            summary=result,
            headline=_headline(matrices[0]),
            numbers=list(_numbers(trace)),
            figures=figures,
            heatmaps=[figure for name, figure in figures.items() if name.startswith("heatmap")],
            recording=trace.recording,
            cost="" if trace.recording is None else describe_cost(trace.recording.cost),
            n_runs=1 if trace.runs is None else len(trace.runs.unique()),
        )


def _headline(matrix: AffinityMatrix) -> Headline:
    """The strongest pairs beyond noise."""
    pairs = matrix.frame()
    pairs = pairs[pairs["source"] != pairs["target"]].dropna(subset=["affinity"])
    if not len(pairs):
        return Headline(
            "No pair of tasks was measured.",
            ("No measurement held two tasks. Name all tasks: Recorder(tasks=[...]).",),
            is_sure=False,
        )
    clear = pairs[pairs["affinity"].abs() > 2 * pairs["standard_error"].fillna(np.inf)]
    helps, harms = clear[clear["affinity"] > 0], clear[clear["affinity"] < 0]
    title = (
        f"{count(len(helps), 'pair')} of tasks with an affinity above noise, "
        f"{len(harms)} below, of {len(pairs)}."
    )
    sentences = [
        f"{verb}: “{row.source}” onto “{row.target}”, affinity {number(row.affinity, True)}."
        for verb, row in (
            *(("Strongest help", row) for row in helps.nlargest(1, "affinity").itertuples()),
            *(("Strongest harm", row) for row in harms.nsmallest(1, "affinity").itertuples()),
        )
    ]
    sentences.append(f"Estimator: {title_of(matrix)}.")
    return Headline(title, tuple(sentences), is_sure=bool(len(clear)))


def _numbers(trace: Trace) -> Iterator[KeyNumber]:
    first, last = int(trace.steps.min()), int(trace.steps.max())
    yield KeyNumber("Tasks", str(len(trace.tasks)), "listed below")
    yield KeyNumber("Measurements", f"{len(trace):,}", f"steps {first:,} to {last:,}")
    if trace.recording is not None:
        cost = trace.recording.cost
        note = f"of the {number(cost.plain_seconds)} s of the run itself"
        yield KeyNumber("Cost of recording", percent(cost.overhead, signed=False), note)
    if trace.gramians is not None and trace.lookahead_losses is not None:
        error = percent(trace.first_order_error(), signed=False)
        note = "difference between lookahead and its linear prediction"
        yield KeyNumber("First-order error", error, note)


def _task_rows(trace: Trace) -> tuple[TaskRow, ...]:
    rows: list[TaskRow] = []
    squared = None if trace.gramians is None else trace.gramians.diagonal(dim1=1, dim2=2)
    for column, task in enumerate(trace.tasks):
        losses = trace.losses[:, column]
        losses = losses[losses.isfinite()]
        norm = None
        if squared is not None:
            norm = squared[:, column].clamp(min=0).sqrt().nanmedian().item()
        first, last = (losses[0].item(), losses[-1].item()) if len(losses) else (None, None)
        is_known = norm is not None and bool(torch.tensor(norm).isfinite())
        rows.append(TaskRow(task, len(losses), first, last, norm if is_known else None))
    return tuple(rows)
