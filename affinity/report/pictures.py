"""The pictures of an audit by name, for the page and for files."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from affinity.audit import Audit, Diagnosis
from affinity.errors import InputError, check_known
from affinity.estimates import ESTIMATORS, AffinityMatrix, Estimator, runs_of
from affinity.grouping import Grouping, Stability
from affinity.recording import Trace

from .alternatives import ConsensusHeatmap
from .gain_plot import GainPlot
from .gate_use import GateUse
from .heatmap import Heatmap
from .layer_conflict import LayerConflict
from .over_time import OverTime
from .picture import FORMATS, Picture
from .recovery_plot import RecoveryPlot
from .task_graph import TaskGraph

FEWEST_MEASUREMENTS = 8
MOST_SWITCHED = 60
SETTINGS = {"held_out=True": ", held out", "step='optimizer'": ", of the optimizer's step"}


def write_figures(
    result: Audit | Trace,
    folder: str | Path,
    formats: Sequence[str] = ("png",),
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Diagnosis | None = None,
) -> list[Path]:
    """Write every picture of the page to `folder`, once per format, and return the files.

    Args:
        result: The audit or the trace to show; the arguments below are for audits.
        folder: Made if it is missing.
        formats: Of "png", "pdf" and "svg".
        matrices: Further estimates; those that the trace gives are added.
        diagnosis: Why sharing does harm, for the same problem.

    Raises:
        InputError: If a format is unknown, or a file cannot be written.
    """
    check_known("formats", formats, FORMATS, "unknown-format")
    if isinstance(result, Trace):
        pictures = trace_pictures(result, matrices_of(result))
    else:
        estimates = all_matrices(result, matrices, trace)
        pictures = audit_pictures(result, estimates, trace, None, diagnosis)
    return [
        picture.save(Path(folder) / f"{name}.{kind}")
        for name, picture in pictures.items()
        for kind in formats
    ]


def audit_pictures(
    audit: Audit,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    stability: Stability | None = None,
    diagnosis: Diagnosis | None = None,
) -> dict[str, Picture]:
    """The pictures that the audit, its matrices (the plan's first) and trace allow, in order."""
    pictures: dict[str, Picture] = {"gains": GainPlot.from_audit(audit)}
    for number, matrix in enumerate(matrices, start=1):
        name = "heatmap" if number == 1 else f"heatmap-{number}"
        pictures[name] = Heatmap(matrix, grouping_for(audit, matrix.tasks))
    if matrices:
        pictures["graph"] = TaskGraph(matrices[0], grouping_for(audit, matrices[0].tasks))
    if stability is not None:
        pictures["consensus"] = ConsensusHeatmap(stability, matrices[0])
    if trace is not None:
        grouping = grouping_for(audit, trace.tasks)
        pictures |= conflict_pictures(trace, estimator_of(audit.matrix), grouping)
    for number, gates in enumerate(audit.gates, start=1):
        if gates is not None:
            pictures[f"gates-{number}"] = GateUse(gates)
    if diagnosis is not None:
        pictures["causes"] = RecoveryPlot(diagnosis)
    return pictures


def trace_pictures(trace: Trace, matrices: Sequence[AffinityMatrix]) -> dict[str, Picture]:
    """The pictures of a recorded run, in order; its first matrix is a graph and over time, too."""
    pictures: dict[str, Picture] = {
        "heatmap" if position == 1 else f"heatmap-{position}": Heatmap(matrix)
        for position, matrix in enumerate(matrices, start=1)
    }
    pictures["graph"] = TaskGraph(matrices[0])
    return pictures | conflict_pictures(trace, estimator_of(matrices[0]))


def conflict_pictures(
    trace: Trace, estimator: Estimator | None, grouping: Grouping | None = None
) -> dict[str, Picture]:
    """Affinities over time and conflict by layer, as far as the trace allows."""
    pictures: dict[str, Picture] = {}
    if estimator is not None and len(trace) >= FEWEST_MEASUREMENTS:
        pictures["over-time"] = OverTime(runs_of(trace)[0], estimator, grouping)
    if trace.layers is not None and len(trace.layers) > 1:
        pictures["layers"] = LayerConflict(trace)
    return pictures


def all_matrices(
    audit: Audit, matrices: Sequence[AffinityMatrix], trace: Trace | None
) -> list[AffinityMatrix]:
    """The audit's matrix, the given ones, and those of all other estimators from the trace."""
    all_of_them = [*([] if audit.matrix is None else [audit.matrix]), *matrices]
    if trace is None or len(trace.tasks) > MOST_SWITCHED:
        return all_of_them
    known = None if audit.matrix is None else audit.matrix.estimator
    return all_of_them + [each for each in matrices_of(trace) if each.estimator != known]


def matrices_of(trace: Trace) -> list[AffinityMatrix]:
    """The affinities by each estimator that finds in the trace what it needs."""
    matrices: list[AffinityMatrix] = []
    for make in ESTIMATORS.values():
        with suppress(InputError):  # the trace lacks what this estimator needs
            matrices.append(make()(trace))
    if not matrices:
        raise InputError(
            "Expected a trace with Gramians or lookahead losses, but no estimator finds what it "
            "needs: call recorder.observe with the losses of several tasks.",
            "missing-in-trace",
        )
    return matrices


def estimator_of(matrix: AffinityMatrix | None) -> Estimator | None:
    """The registered estimator that made the matrix, if it is one; the first without a matrix."""
    estimators = (make() for make in ESTIMATORS.values())
    return next((e for e in estimators if matrix is None or repr(e) == matrix.estimator), None)


def grouping_for(audit: Audit, tasks: Sequence[str]) -> Grouping | None:
    """The plan's grouping, if it has exactly these tasks."""
    grouping = audit.plan.grouping
    return grouping if grouping.tasks == frozenset(tasks) else None


def title_of(matrix: AffinityMatrix) -> str:
    """An estimator's name in words."""
    if not matrix.estimator:
        return "Affinity"
    name, _, arguments = matrix.estimator.partition("(")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    suffix = "".join(text for setting, text in SETTINGS.items() if setting in arguments)
    return words[:1].upper() + words[1:] + suffix
