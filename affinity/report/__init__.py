"""Pages, pictures and tables; plotting libraries are imported only here."""

from pathlib import Path

from affinity.audit import Audit


def write_report(audit: Audit, path: str | Path) -> Path:
    """Write the audit's page to `path`."""
    raise NotImplementedError(f"the page of {audit.problem} at {path}")
