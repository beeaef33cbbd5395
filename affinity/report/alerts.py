"""The warnings on an audit's page."""

from affinity.audit import Audit, RepeatedHoldout
from affinity.recording import Trace

from .alert import SEVERITIES, Alert
from .estimate_alerts import estimate_alerts
from .measurement_alerts import measurement_alerts


def find_alerts(
    audit: Audit, trace: Trace | None = None, holdout: RepeatedHoldout | None = None
) -> list[Alert]:
    """All alerts on an audit, the most serious first."""
    alerts = [*measurement_alerts(audit, holdout), *estimate_alerts(audit, trace)]
    return sorted(alerts, key=lambda alert: SEVERITIES.index(alert.severity))
