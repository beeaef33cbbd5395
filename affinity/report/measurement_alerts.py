"""Alerts on the data, on the measured gains and on the trained networks."""

from collections.abc import Iterator

from affinity.audit import Audit, RepeatedHoldout
from affinity.audit.repeated_holdout import Followed
from affinity.words import count

from .alert import Alert, quote_names
from .numbers import gain_text, percent, percent_range

FEWEST_REPLICATES = 3
FEWEST_ROWS = 200


def measurement_alerts(audit: Audit, holdout: RepeatedHoldout | None = None) -> list[Alert]:
    """What may be wrong with the data, the splits, the replicates, the verdicts or the gates."""
    return [
        *_limits(audit),
        *_reference(audit),
        *_few_replicates(audit),
        *_harmful(audit),
        *_contradicted(audit),
        *_undecided(audit),
        *_gates(audit),
        *_data(audit),
        *_test_splits(audit, holdout),
    ]


def _limits(audit: Audit) -> Iterator[Alert]:
    for limit in audit.context.limits:
        yield Alert(limit.code, "warning", "Limits of this audit", limit.message)


def _reference(audit: Audit) -> Iterator[Alert]:
    reference, overall = audit.reference, audit.reference_overall
    if reference is None or overall is None or overall.verdict != "beneficial":
        return
    yield Alert(
        "reference-wins",
        "serious",
        f"{reference.name.capitalize()} is better than these networks",
        f"One {reference.name} model per task, on the same rows and without sharing, has a mean "
        f"gain of {gain_text(overall.gain, overall.unit)} over the advised networks. Use it, or "
        "larger networks, before you decide what to share.",
    )


def _few_replicates(audit: Audit) -> Iterator[Alert]:
    n_replicates = audit.gains.n_replicates
    if n_replicates >= FEWEST_REPLICATES:
        return
    none = "One replicate gives no intervals and no verdicts. " if n_replicates == 1 else ""
    yield Alert(
        "few-replicates",
        "serious",
        f"Only {count(n_replicates, 'replicate')}",
        f"{none}Gains vary between data splits and seeds as much as between ways of sharing. Use "
        f"at least {FEWEST_REPLICATES} replicates, better 5 to 10, before you rely on this page.",
    )


def _harmful(audit: Audit) -> Iterator[Alert]:
    harmed = [verdict for verdict in audit.verdicts.values() if verdict.verdict == "harmful"]
    if not harmed:
        return
    worst = min(harmed, key=lambda verdict: verdict.gain)
    lowest = f"The lowest gain is {gain_text(worst.gain, worst.unit)}, for “{worst.task}”"
    yield Alert(
        "harmful-tasks",
        "serious",
        f"The plan hurts {count(len(harmed), 'task')}",
        f"{quote_names([verdict.task for verdict in harmed])}. {lowest}. Give such tasks their own "
        "networks in plan.yaml and run the audit again. “affinity diagnose RUN” looks for causes.",
    )


def _contradicted(audit: Audit) -> Iterator[Alert]:
    if audit.advice == "separate":
        return
    advised = audit.candidates[audit.advice]
    selection = float(advised.evaluation.overall().mean())
    test = float(advised.test.overall().mean())
    unit = audit.gains.overall_unit
    if test < 0:
        yield Alert(
            "test-contradicts-selection",
            "serious",
            "Test rows contradict selection rows",
            f"The advised candidate has a mean gain of {gain_text(selection, unit)} on selection "
            f"rows, but of {gain_text(test, unit)} on test rows. Use more replicates or more "
            "selection rows.",
        )


def _undecided(audit: Audit) -> Iterator[Alert]:
    undecided = [each.task for each in audit.verdicts.values() if each.verdict == "undecided"]
    if not undecided or audit.gains.n_replicates == 1:
        return
    yield Alert(
        "undecided-tasks",
        "warning" if len(undecided) > len(audit.tasks) / 2 else "note",
        f"{count(len(undecided), 'task')} undecided",
        f"{quote_names(undecided)}: these data neither show a gain or a loss nor exclude one. The "
        "column “Detectable” in the table of gains says how large an effect must be to be found.",
    )


def _gates(audit: Audit) -> Iterator[Alert]:
    for number, gates in enumerate(audit.gates, start=1):
        if gates is None:
            continue
        if polarized := gates.often_polarized:
            yield Alert(
                "polarized-gates",
                "warning",
                f"Gates of network {number} are polarized",
                f"{quote_names(list(polarized))}: the gate gives nearly all weight to one expert "
                f"in up to {max(polarized.values())} of {gates.n_replicates} replicates, so the "
                "task shares less than planned. Use gate dropout or hard sharing.",
            )
        if identical := gates.often_identical:
            yield Alert(
                "identical-experts",
                "warning",
                f"Experts of network {number} are identical",
                f"Two of its experts give the same output on every row in {identical} of "
                f"{gates.n_replicates} replicates, so one of them is redundant. Use fewer experts "
                "or hard sharing.",
            )


def _data(audit: Audit) -> Iterator[Alert]:
    for note in audit.context.notes:
        yield Alert(note.code, note.severity, "About the data", note.message)
    for part, n_rows in audit.context.rows.items():
        if n_rows < FEWEST_ROWS:
            yield Alert(
                "small-split",
                "warning",
                f"Few {part} rows",
                f"With {count(n_rows, 'row')}, differences between networks are mostly noise.",
            )


def _test_splits(audit: Audit, holdout: RepeatedHoldout | None) -> Iterator[Alert]:
    """Whether the overall verdict rests on one test split, or is not confirmed on others."""
    followed: Followed = "plan" if audit.advice == "separate" else "advice"
    verdict = audit.overall_of("plan" if followed == "plan" else audit.advice).verdict
    if verdict not in ("harmful", "beneficial"):
        return
    if holdout is None and not audit.context.rows:
        return  # trained elsewhere: how its rows were split is not known
    if holdout is None:
        yield Alert(
            "one-test-split",
            "note",
            "Judged on one test split",
            f"The overall verdict “{verdict}” holds for networks trained on these development "
            "rows; other rows of the same kind may give another one. Where two candidates are "
            "equally good in general, one audit in seven still finds a difference between them "
            "(reports/calibration). “affinity audit ... --test-splits 5” repeats the audit on five "
            "test splits.",
        )
        return
    procedure = holdout.procedure(followed)
    if procedure.verdict != verdict:
        yield Alert(
            "not-confirmed",
            "serious" if procedure.verdict in ("harmful", "beneficial") else "warning",
            f"Not confirmed on other test splits: {procedure.verdict}",
            f"The overall verdict on this test split is “{verdict}”. Over {len(holdout.audits)} "
            f"test splits the mean gain is {percent(procedure.gain)} "
            f"({percent_range(procedure.low, procedure.high)}). Rely on the mean over test splits.",
        )
