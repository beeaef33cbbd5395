"""The warnings on an audit's page: those of the audit, of its estimates and of its test split."""

from collections.abc import Iterator

from affinity.audit import SEVERITIES, Alert, Audit, RepeatedHoldout
from affinity.audit.repeated_holdout import Followed
from affinity.recording import Trace

from .estimate_alerts import estimate_alerts
from .numbers import gain_range, gain_text


def find_alerts(
    audit: Audit, trace: Trace | None = None, holdout: RepeatedHoldout | None = None
) -> list[Alert]:
    """All alerts on an audit, the most serious first."""
    alerts = [*audit.alerts, *_test_splits(audit, holdout), *estimate_alerts(audit, trace)]
    return sorted(alerts, key=lambda alert: SEVERITIES.index(alert.severity))


def _test_splits(audit: Audit, holdout: RepeatedHoldout | None) -> Iterator[Alert]:
    """Whether the overall verdict rests on one test split, or is not confirmed on others."""
    followed: Followed = "plan" if audit.advice == "separate" else "advice"
    overall = audit.overall_of("plan" if followed == "plan" else audit.advice)
    if overall.verdict not in ("harmful", "beneficial"):
        return
    if holdout is None and not audit.context.rows:
        return  # trained elsewhere: how its rows were split is not known
    if holdout is None:
        yield Alert(
            "one-test-split",
            "note",
            "Judged on one test split",
            f"The overall verdict “{overall.verdict}” holds for networks trained on these "
            "development rows; other rows of the same kind may give another one. Where two "
            "candidates are equally good in general, one audit in seven still finds a difference "
            "between them (reports/calibration). “affinity audit ... --test-splits 5” repeats the "
            "audit on five test splits.",
        )
        return
    procedure = holdout.procedure(followed)
    if procedure.verdict != overall.verdict:
        yield Alert(
            "not-confirmed",
            "serious" if procedure.verdict in ("harmful", "beneficial") else "warning",
            f"Not confirmed on other test splits: {procedure.verdict}",
            f"The overall verdict on this test split is “{overall.verdict}”. Over "
            f"{len(holdout.audits)} test splits the mean gain is "
            f"{gain_text(procedure.gain, overall.unit)} "
            f"({gain_range(procedure.low, procedure.high, overall.unit)}). Rely on the mean over "
            "test splits.",
        )
