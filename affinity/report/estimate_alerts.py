"""Alerts on the estimated affinities, and on the grouping made from them."""

from collections.abc import Iterator

import numpy as np

from affinity.audit import Alert, Audit
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, runs_of, seed_to_seed, split_half
from affinity.recording import Trace
from affinity.words import count

from .numbers import number, percent
from .pictures import estimator_of

FEWEST_MEASUREMENTS = 20
DOMINATION = 20.0
LEAST_RELIABILITY = 0.5
MUCH_HARM = 0.1
"""Loss of one network for all tasks beyond which affinity predicted gains on measured tables
(reports/trust/trust.csv)."""
MOST_COMPARED = 200


def estimate_alerts(audit: Audit, trace: Trace | None = None) -> list[Alert]:
    """What may be wrong with the matrix, its predictions, the grouping or the recorded run."""
    return [
        *_estimate(audit.matrix),
        *_agreement(audit),
        *_weak_guide(audit),
        *_not_optimal(audit),
        *_overlap(audit),
        *(_dominant_loss(trace) if trace is not None else ()),
        *(_reliability(audit.matrix, trace) if trace is not None else ()),
    ]


def trace_alerts(matrix: AffinityMatrix, trace: Trace) -> list[Alert]:
    """What may be wrong with a recorded run, and with the affinities estimated from it."""
    return [*_estimate(matrix), *_dominant_loss(trace), *_reliability(matrix, trace)]


def _estimate(matrix: AffinityMatrix | None) -> Iterator[Alert]:
    if matrix is None:
        return
    pairs = ~np.eye(len(matrix.tasks), dtype=bool)
    values = matrix.values.double().numpy()[pairs]
    if n_missing := int(np.sum(~np.isfinite(values))):
        yield Alert(
            "unmeasured-pairs",
            "warning",
            f"{count(n_missing, 'pair')} of tasks never measured",
            "No batch had labels of both tasks, or a loss was 0. Their cells are blank.",
        )
    if matrix.standard_error is not None:
        error = matrix.standard_error.double().numpy()[pairs]
        known = np.isfinite(values) & np.isfinite(error)
        size = float(np.mean(values[known] ** 2)) if known.any() else 0.0
        noise = float(np.mean(error[known] ** 2)) if known.any() else 0.0
        if noise > 0.5 * size:  # affinities of exactly 0 with small errors are no noise
            part = percent(min(1.0, noise / size) if size else 1.0, signed=False)
            yield Alert(
                "noisy-estimate",
                "warning",
                "Affinities are mostly noise",
                f"Their errors account for {part} of their size (mean squares). Another "
                "run may lead to another grouping. Record more steps.",
            )
    if matrix.n_steps is not None:
        fewest = int(matrix.n_steps.numpy()[pairs].min(initial=FEWEST_MEASUREMENTS))
        if fewest < FEWEST_MEASUREMENTS:
            yield Alert(
                "few-measurements",
                "warning",
                "Too few measurements",
                f"Some pairs of tasks were measured at only {count(fewest, 'step')}. Measure more "
                "often (a smaller “every”) or train longer.",
            )


def _agreement(audit: Audit) -> Iterator[Alert]:
    agreement = audit.agreement
    if agreement is None or agreement.spearman is None:
        return
    if agreement.spearman < 0.2:
        yield Alert(
            "affinity-disagrees",
            "warning",
            "Affinity did not predict the gains",
            f"The rank correlation between estimated affinity and measured gain is "
            f"{number(agreement.spearman, signed=True, digits=2)} over {agreement.n_tasks} pairs "
            "of a task and its partners. Rely on the measured gains, not on the heatmap.",
        )


def _weak_guide(audit: Audit) -> Iterator[Alert]:
    """Affinity predicted gains only on tables where sharing everything did much harm."""
    all_in_one = audit.candidates.get("all-in-one")
    provenance = audit.plan.provenance
    is_by_affinity = provenance.evidence is not None and not provenance.is_predicted
    if audit.matrix is None or audit.context.race or not is_by_affinity or all_in_one is None:
        return
    gain = audit.selection_gain("all-in-one")
    if gain >= -MUCH_HARM:
        yield Alert(
            "weak-guide",
            "warning",
            "The plan rests on affinity alone, which predicts little here",
            f"One network for all tasks has a mean gain of {percent(gain)}. On eight tables of "
            "which every group was trained, affinity predicted gains where this gain was far below "
            "0 (rank correlations of 0.2 to 0.5), and hardly where it was not (-0.1 to 0.15). "
            "Measure groups before you choose: affinity group RUN --method race.",
        )


def _not_optimal(audit: Audit) -> Iterator[Alert]:
    grouping = audit.plan.grouping
    if grouping.gap is not None and not grouping.is_optimal:
        yield Alert(
            "not-optimal",
            "note",
            "A better grouping may exist",
            f"The solver stopped at a score of {number(grouping.score)}; the upper bound is "
            f"{number(grouping.bound)}.",
        )


def _overlap(audit: Audit) -> Iterator[Alert]:
    overlap = audit.context.overlap
    if audit.matrix is not None and overlap is not None and overlap.n_below:
        yield Alert("few-shared-rows", "warning", "Tasks share few rows", str(overlap))


def _dominant_loss(trace: Trace) -> Iterator[Alert]:
    if trace.gramians is None:
        return
    norms = trace.gramians.double().diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()  # time task
    medians = norms.nanmedian(dim=0).values.tolist()
    known = [(norm, task) for norm, task in zip(medians, trace.tasks, strict=True) if norm > 0]
    if len(known) < 2:
        return
    (smallest, weak), (largest, strong) = min(known), max(known)
    if largest / smallest >= DOMINATION:
        yield Alert(
            "dominant-loss",
            "warning",
            "One task's loss dominates",
            f"The gradient norm of “{strong}” is typically {number(largest / smallest, digits=2)} "
            f"times that of “{weak}”, so shared parameters follow it. Scale the losses.",
        )


def _reliability(matrix: AffinityMatrix | None, trace: Trace) -> Iterator[Alert]:
    estimator = estimator_of(matrix)
    if matrix is None or estimator is None or len(trace.tasks) > MOST_COMPARED:
        return
    n_runs = len(runs_of(trace))
    try:
        reliability = seed_to_seed(trace, estimator) if n_runs > 1 else split_half(trace, estimator)
    except InputError:  # the trace is of another run than the matrix
        return
    if reliability.whole < LEAST_RELIABILITY:
        parts = f"{n_runs} runs with different seeds" if n_runs > 1 else "Two halves of the run"
        yield Alert(
            "not-reproducible",
            "warning",
            "Affinity estimates are not reproducible",
            f"{parts} agree only at a rank correlation of "
            f"{number(reliability.parts, signed=True, digits=2)} over pairs of tasks. Rely on "
            "measured gains, or record more runs (--runs).",
        )
