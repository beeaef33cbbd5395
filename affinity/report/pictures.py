"""Every picture of an audit by its name, for the page and for files."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.estimates import ESTIMATORS, AffinityMatrix, Estimator, runs_of
from affinity.grouping import Grouping, Stability
from affinity.recording import Trace

from .drawing import Picture
from .gain_dots import GainDots
from .gate_use import GateUse
from .heatmap import Heatmap
from .layer_conflict import LayerConflict
from .other_groupings import Together
from .over_time import OverTime
from .recovered_dots import RecoveredDots
from .task_graph import TaskGraph

FEWEST_MEASUREMENTS = 8
MOST_SWITCHED = 60


def pictures_of(
    audit: Audit,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    stability: Stability | None = None,
    diagnosis: Mapping[str, Any] | None = None,
) -> dict[str, Picture]:
    """The pictures that the audit, its matrices and its trace allow, in the page's order.

    Args:
        audit: What was measured.
        matrices: The estimates, the plan's first.
        trace: The recorded run.
        stability: Of the grouping, where it is known.
        diagnosis: As `diagnosis_facts` gives it.
    """
    pictures: dict[str, Picture] = {"gains": GainDots.of(audit)}
    for number, matrix in enumerate(matrices, start=1):
        name = "heatmap" if number == 1 else f"heatmap-{number}"
        pictures[name] = Heatmap(matrix, grouping_for(audit, matrix))
    if matrices:
        pictures["graph"] = TaskGraph(matrices[0], grouping_for(audit, matrices[0]))
    if stability is not None:
        pictures["together"] = Together(stability, matrices[0])
    if trace is not None and len(trace) >= FEWEST_MEASUREMENTS:
        estimator = estimator_of(audit)
        if estimator is not None:
            grouping = audit.plan.grouping
            fits = grouping.tasks == frozenset(trace.tasks)
            pictures["over-time"] = OverTime(
                runs_of(trace)[0], estimator, grouping if fits else None
            )
    if trace is not None and trace.layers is not None and len(trace.layers) > 1:
        pictures["layers"] = LayerConflict(trace)
    for number, gates in enumerate(audit.gates, start=1):
        if gates is not None:
            pictures[f"gates-{number}"] = GateUse(gates)
    if diagnosis is not None:
        pictures["causes"] = RecoveredDots(diagnosis)
    return pictures


def estimator_of(audit: Audit) -> Estimator | None:
    """The estimator that the audit's matrix is from, where it is one of the table."""
    made = (make() for make in ESTIMATORS.values())
    fitting = (e for e in made if audit.matrix is None or repr(e) == audit.matrix.estimator)
    return next(fitting, None)


def other_estimates(audit: Audit, trace: Trace | None) -> list[AffinityMatrix]:
    """What the other estimators make of the same trace; those that cannot are left out."""
    if trace is None or len(trace.tasks) > MOST_SWITCHED:
        return []
    estimates: list[AffinityMatrix] = []
    for make in ESTIMATORS.values():
        try:
            matrix = make()(trace)
        except InputError:
            continue
        if audit.matrix is None or matrix.estimator != audit.matrix.estimator:
            estimates.append(matrix)
    return estimates


def grouping_for(audit: Audit, matrix: AffinityMatrix | None) -> Grouping | None:
    """The plan's grouping, if it is one of the matrix's tasks."""
    grouping = audit.plan.grouping
    return grouping if matrix is not None and grouping.tasks == frozenset(matrix.tasks) else None


def title_of(matrix: AffinityMatrix) -> str:
    """An estimator's name in words.

    Example:
        >>> import torch
        >>> name = "GradientCosine(block=None)"
        >>> title_of(AffinityMatrix(("depth",), torch.zeros(1, 1), estimator=name))
        'Gradient cosine'
    """
    if not matrix.estimator:
        return "Affinity"
    name, _, settings = matrix.estimator.partition("(")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    said = {"held_out=True": ", held out", "step='optimizer'": ", of the optimizer's step"}
    about = "".join(each for setting, each in said.items() if setting in settings)
    return words[:1].upper() + words[1:] + about
