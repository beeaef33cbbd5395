"""How it was made: whatever the audit's context holds, as names and short texts."""

from collections.abc import Mapping
from typing import Any, cast

from affinity.audit import Audit

from .numbers import count, number

NAMES = {
    "command": "Command",
    "source": "Data",
    "fingerprint": "Fingerprint of the data",
    "rows": "Rows",
    "columns": "Columns",
    "layout": "Layout",
    "kinds": "Kinds of tasks",
    "seed": "Seed",
    "every": "Measured at every",
    "measurements": "Measurements",
    "budget": "Budget",
    "width": "Width of the trunks",
    "settings": "Settings",
    "seconds": "Seconds",
    "versions": "Versions",
}
SAID_ELSEWHERE = {"notes", "overlap", "race"}
LONGEST = 12


def how_made(audit: Audit) -> list[tuple[str, str]]:
    """Rows for the page, the known ones first."""
    context = {**audit.context}
    known = [key for key in NAMES if key in context]
    others = [key for key in context if key not in NAMES and key not in SAID_ELSEWHERE]
    rows = [(NAMES.get(key, key), _text(context[key])) for key in [*known, *others]]
    grouping, matrix = audit.plan.grouping, audit.matrix
    rows.append(("Replicates", str(audit.gains.n_replicates)))
    if matrix is not None and matrix.estimator:
        rows.append(("Estimator", matrix.estimator))
    if grouping.solver:
        certificate = "proven best within the budget" if grouping.is_optimal else "not proven best"
        score = f", score {number(grouping.score)}" if grouping.score is not None else ""
        rows.append(("Solver", f"{grouping.solver}{score}, {certificate}"))
    rows.append(("Test of verdicts", repr(audit.test)))
    return [(name, text) for name, text in rows if text]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        entries = [(key, entry) for key, entry in pairs if entry is not None]
        shown = ", ".join(f"{key}: {_text(entry)}" for key, entry in entries[:LONGEST])
        more = len(entries) - LONGEST
        return f"{shown} and {count(more, 'other')}" if more > 0 else shown
    if isinstance(value, list | tuple):
        entries = cast("list[Any]", list(value))
        shown = ", ".join(_text(entry) for entry in entries[:LONGEST])
        more = len(entries) - LONGEST
        return f"{shown} and {count(more, 'other')}" if more > 0 else shown
    if isinstance(value, float):
        return number(value)
    return "" if value is None else str(value)
