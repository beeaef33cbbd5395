"""How it was made: whatever the audit's context holds, as names and short texts."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from affinity.audit import Audit
from affinity.words import count

from .numbers import number, percent

NAMES = {
    "command": "Command",
    "source": "Data",
    "fingerprint": "Fingerprint of the data",
    "rows": "Rows",
    "columns": "Columns",
    "layout": "Layout",
    "features": "Features",
    "kinds": "Kinds of tasks",
    "seed": "Seed",
    "seeds": "Seeds of the replicates",
    "every": "Measured at every",
    "recording": "Recording",
    "budget": "Budget",
    "width": "Width of the trunks",
    "recipe": "Recipe",
    "methods": "Methods",
    "queries": "Query rows, a task or a class",
    "inner_rate": "Step size of the inner loop",
    "settings": "Settings",
    "seconds": "Seconds of each stage",
    "versions": "Versions",
}
SHOWN_ELSEWHERE = {"notes", "limits", "overlap", "race"}
LONGEST = 12


def how_made(audit: Audit) -> list[tuple[str, str]]:
    """Rows for the page, the known ones first."""
    context: dict[str, Any] = {
        **{
            field.name: value
            for field in fields(audit.context)
            if (value := getattr(audit.context, field.name)) is not None
        },
    }
    if (source := audit.context.source) is not None:
        context |= {"source": source.name, "fingerprint": source.fingerprint}
        context |= {"layout": source.layout, "features": source.features}
        context |= {"columns": source.columns, "kinds": source.kinds}
    if (cost := audit.context.recording) is not None:
        context["recording"] = _overhead(cost.measurements, cost.seconds, cost.plain_seconds)
    rows = rows_of(context)
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


def rows_of(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and short texts of a context, the known ones first; nothing of what is empty."""
    known = [key for key in NAMES if key in context]
    others = [key for key in context if key not in NAMES and key not in SHOWN_ELSEWHERE]
    rows = [(NAMES.get(key, key), _text(context[key])) for key in [*known, *others]]
    return [(name, text) for name, text in rows if text]


def _overhead(measurements: int, seconds: float, plain_seconds: float) -> str:
    """What watching the run cost."""
    share = f", {percent(seconds / plain_seconds, signed=False)} on top" if plain_seconds else ""
    return (
        f"{count(measurements, 'measurement')} took {number(seconds)} s{share} of the "
        f"{number(plain_seconds)} s of the run itself"
    )


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[Any, Any]", value).items()
        entries = [(key, text) for key, entry in pairs if (text := _text(entry))]
        shown = ", ".join(f"{key}: {text}" for key, text in entries[:LONGEST])
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
