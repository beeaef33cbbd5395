"""Alerts: what should make a reader doubt the answer, worst first."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, Overlap, runs_of, seed_to_seed, split_half
from affinity.recording import Trace

from .numbers import count, number, percent
from .pictures import estimator_of

Severity = Literal["serious", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")
FEWEST_REPLICATES = 3
FEWEST_MEASUREMENTS = 20
FEWEST_ROWS = 200
DOMINATION = 20.0
RELIABLE = 0.5
MUCH_HARM = 0.1  # of one network for all; reports/trust/trust.csv
MOST_COMPARED = 200


@dataclass(frozen=True)
class Alert:
    """One doubt: how serious, what it is, and what to do about it."""

    severity: Severity
    title: str
    text: str


def find_alerts(audit: Audit, trace: Trace | None = None) -> list[Alert]:
    """Every alert that the audit and the trace give rise to, worst first."""
    found = [
        *_few_replicates(audit),
        *_harmed(audit),
        *_lost_on_test(audit),
        *_undecided(audit),
        *_estimate(audit.matrix),
        *_agreement(audit),
        *_weak_guide(audit),
        *_solver(audit),
        *_overlap(audit),
        *_context(audit),
        *(_domination(trace) if trace is not None else []),
        *(_reliability(audit, trace) if trace is not None else []),
    ]
    return sorted(found, key=lambda alert: SEVERITIES.index(alert.severity))


def _few_replicates(audit: Audit) -> list[Alert]:
    n_replicates = audit.gains.n_replicates
    if n_replicates >= FEWEST_REPLICATES:
        return []
    return [
        Alert(
            "serious",
            f"Only {count(n_replicates, 'replicate')}",
            "Rows and seeds move gains as much as sharing does. Retrain at least "
            f"{FEWEST_REPLICATES}, better 5 to 10 times, before acting on this page.",
        )
    ]


def _harmed(audit: Audit) -> list[Alert]:
    harmed = [each for each in audit.verdicts.values() if each.verdict == "harmful"]
    if not harmed:
        return []
    worst = min(harmed, key=lambda verdict: verdict.gain)
    return [
        Alert(
            "serious",
            f"The plan harms {count(len(harmed), 'task')}",
            f"{_names([each.task for each in harmed])}. The worst is “{worst.task}” with a gain of "
            f"{percent(worst.gain)}. Give it a network of its own in plan.yaml, and audit again.",
        )
    ]


def _lost_on_test(audit: Audit) -> list[Alert]:
    if audit.advice == "separate":
        return []
    arrangement = audit.arrangements[audit.advice]
    evaluation = float(arrangement.evaluation.overall().mean())
    test = float(arrangement.test.overall().mean())
    if not test < 0:
        return []
    return [
        Alert(
            "serious",
            "Validation and test rows disagree",
            f"What led on evaluation rows ({percent(evaluation)}) lost on test rows "
            f"({percent(test)}). More replicates or evaluation rows would tell which is right.",
        )
    ]


def _undecided(audit: Audit) -> list[Alert]:
    undecided = [each for each in audit.verdicts.values() if each.verdict == "undecided"]
    if not undecided:
        return []
    share = len(undecided) / len(audit.tasks)
    return [
        Alert(
            "warning" if share > 0.5 else "note",
            f"{count(len(undecided), 'task')} undecided",
            f"{_names([each.task for each in undecided])}: the replicates neither show a gain or a "
            "loss nor rule one out. The table of gains says how large an effect would have been "
            "found.",
        )
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
    if agreement is None or not math.isfinite(agreement.spearman) or agreement.spearman >= 0.2:
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
    all_in_one = audit.arrangements.get("all-in-one")
    if audit.matrix is None or audit.context.get("race") or all_in_one is None:
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
            "for all lost much (rank correlations of 0.2 to 0.45), and hardly at all where it did "
            "not (0 to 0.15). Let a race measure groups before you choose: affinity group RUN "
            "--verify race.",
        )
    ]


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
    known: Any = audit.context.get("overlap")
    text = str(Overlap(**known)) if known and audit.matrix is not None else ""
    return [Alert("warning", "Tasks share few rows", text)] if text else []


def _context(audit: Audit) -> list[Alert]:
    notes = audit.context.get("notes") or ()
    found = [Alert(_severity(str(note)), "About the data", str(note)) for note in notes]
    rows: Any = audit.context.get("rows")
    parts = rows.items() if isinstance(rows, dict) else []
    for part, amount in parts:
        if isinstance(amount, int) and part != "training" and amount < FEWEST_ROWS:
            found.append(
                Alert(
                    "warning",
                    f"The {part} split is small",
                    f"{count(amount, 'row')}: differences on so few rows are mostly chance.",
                )
            )
    return found


def _severity(note: str) -> Severity:
    return (
        "warning"
        if any(word in note.lower() for word in ("leak", "gives", "missing", "no verdict", "few"))
        else "note"
    )


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


def _names(tasks: list[str], most: int = 6) -> str:
    shown = ", ".join(f"“{task}”" for task in tasks[:most])
    return shown if len(tasks) <= most else f"{shown} and {len(tasks) - most} more"
