"""What should make a reader doubt the affinities, and the grouping made from them."""

import numpy as np

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, runs_of, seed_to_seed, split_half
from affinity.recording import Trace
from affinity.words import count

from .alert import Alert
from .numbers import number, percent
from .pictures import estimator_of

FEWEST_MEASUREMENTS = 20
DOMINATION = 20.0
RELIABLE = 0.5
MUCH_HARM = 0.1  # of one network for all; reports/trust/trust.csv
MOST_COMPARED = 200


def alerts_of_estimates(audit: Audit, trace: Trace | None = None) -> list[Alert]:
    """Of the matrix, what it foretold, the solver, and the recorded run."""
    return [
        *_estimate(audit.matrix),
        *_agreement(audit),
        *_weak_guide(audit),
        *_solver(audit),
        *_overlap(audit),
        *(_domination(trace) if trace is not None else []),
        *(_reliability(audit, trace) if trace is not None else []),
    ]


def _estimate(matrix: AffinityMatrix | None) -> list[Alert]:
    if matrix is None:
        return []
    off = ~np.eye(len(matrix.tasks), dtype=bool)
    values = matrix.values.double().numpy()[off]
    found: list[Alert] = []
    if n_missing := int(np.sum(~np.isfinite(values))):
        found.append(
            Alert(
                "warning",
                f"{count(n_missing, 'pair')} never measured",
                "No batch held labels of both tasks, or the loss was 0. Those cells are blank.",
            )
        )
    if matrix.standard_error is not None:
        error = matrix.standard_error.double().numpy()[off]
        known = np.isfinite(values) & np.isfinite(error)
        noisy = float(np.mean(np.abs(values[known]) < 2 * error[known])) if known.any() else 1.0
        if noisy > 0.5:
            found.append(
                Alert(
                    "warning",
                    "The estimate is mostly noise",
                    f"{percent(noisy, signed=False)} of the affinities are within two standard "
                    "errors of 0. Another run may propose another grouping: record more steps.",
                )
            )
    if matrix.n_steps is not None:
        fewest = int(matrix.n_steps.numpy()[off].min(initial=FEWEST_MEASUREMENTS))
        if fewest < FEWEST_MEASUREMENTS:
            found.append(
                Alert(
                    "warning",
                    "Too few measurements",
                    f"Some pairs were measured at {count(fewest, 'step')} only; measure more often "
                    "(a smaller “every”) or train longer.",
                )
            )
    return found


def _agreement(audit: Audit) -> list[Alert]:
    agreement = audit.agreement
    if agreement is None or agreement.spearman is None or agreement.spearman >= 0.2:
        return []
    return [
        Alert(
            "warning",
            "Affinity did not foretell the gains",
            f"The rank correlation of estimated affinity with measured gain is "
            f"{number(agreement.spearman, signed=True, digits=2)} over {agreement.n_tasks} tasks. "
            "Believe the measured gains, not the heatmap.",
        )
    ]


def _weak_guide(audit: Audit) -> list[Alert]:
    """Over measured tables, affinity foretold gains only where sharing everything did much harm."""
    all_in_one = audit.candidates.get("all-in-one")
    if audit.matrix is None or _is_otherwise(audit) or all_in_one is None:
        return []
    gain = float(np.nanmean(all_in_one.evaluation.overall()))
    if gain < -MUCH_HARM:
        return []
    return [
        Alert(
            "warning",
            "Affinity is a weak guide here",
            f"One network for all tasks gains {percent(gain)} against separate ones. Over eight "
            "tables of which every group was trained, affinity foretold gains where one network "
            "for all lost much (rank correlations of 0.2 to 0.5), and hardly at all where it did "
            "not (-0.1 to 0.15). Let a race measure groups before you choose: affinity group RUN "
            "--verify race.",
        )
    ]


def _is_otherwise(audit: Audit) -> bool:
    """Whether the plan was made of something else than affinity."""
    return audit.plan.provenance.is_predicted or bool(audit.context.race)


def _solver(audit: Audit) -> list[Alert]:
    grouping = audit.plan.grouping
    if grouping.gap is None or grouping.is_optimal:
        return []
    return [
        Alert(
            "note",
            "The grouping may not be the best one",
            f"The solver stopped with a score of {number(grouping.score)}; none can score above "
            f"{number(grouping.bound)}.",
        )
    ]


def _overlap(audit: Audit) -> list[Alert]:
    overlap = audit.context.overlap
    text = str(overlap) if overlap is not None and audit.matrix is not None else ""
    return [Alert("warning", "Tasks share few rows", text)] if text else []


def _domination(trace: Trace) -> list[Alert]:
    if trace.gramians is None:
        return []
    norms = trace.gramians.double().diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()  # time task
    typical = norms.nanmedian(dim=0).values.numpy()
    known = [(size, task) for size, task in zip(typical, trace.tasks, strict=True) if size > 0]
    if len(known) < 2:
        return []
    (smallest, weak), (largest, strong) = min(known), max(known)
    if largest / smallest < DOMINATION:
        return []
    return [
        Alert(
            "warning",
            "One task's loss dominates",
            f"The gradient of “{strong}” is typically {number(largest / smallest, digits=2)} times "
            f"as large as that of “{weak}”, so shared parameters follow it; scale the losses.",
        )
    ]


def _reliability(audit: Audit, trace: Trace) -> list[Alert]:
    estimator = estimator_of(audit)
    if audit.matrix is None or estimator is None or len(trace.tasks) > MOST_COMPARED:
        return []
    n_runs = len(runs_of(trace))
    try:
        reliability = seed_to_seed(trace, estimator) if n_runs > 1 else split_half(trace, estimator)
    except InputError:  # the trace is of another run than the matrix
        return []
    if not reliability.whole < RELIABLE:
        return []
    parts = f"{n_runs} runs with seeds of their own" if n_runs > 1 else "Two halves of the run"
    return [
        Alert(
            "warning",
            "The affinities would not come out the same",
            f"{parts} agree at a rank correlation of "
            f"{number(reliability.parts, signed=True, digits=2)} over pairs of tasks. Believe "
            "measured gains, or record more runs (--runs).",
        )
    ]
