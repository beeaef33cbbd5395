"""Pages, pictures and tables; plotting libraries are imported only here."""

from pathlib import Path

from affinity.audit import Audit


def write_report(audit: Audit, path: str | Path) -> Path:
    """Write the audit's page to `path`."""
    Path(path).write_text(audit.problem)
    return Path(path)
