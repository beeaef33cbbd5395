"""Alerts: what should make a reader doubt the answer, worst first."""

from affinity.audit import Audit, RepeatedHoldout
from affinity.recording import Trace

from .alert import SEVERITIES, Alert
from .alerts_of_data import alerts_of_data
from .alerts_of_draws import alerts_of_draws
from .alerts_of_estimates import alerts_of_estimates
from .alerts_of_measurements import alerts_of_measurements


def find_alerts(
    audit: Audit, trace: Trace | None = None, holdout: RepeatedHoldout | None = None
) -> list[Alert]:
    """Every alert that the audit, the trace and other draws give rise to, worst first."""
    found = [
        *alerts_of_measurements(audit),
        *alerts_of_estimates(audit, trace),
        *alerts_of_data(audit),
        *alerts_of_draws(audit, holdout),
    ]
    return sorted(found, key=lambda alert: SEVERITIES.index(alert.severity))
