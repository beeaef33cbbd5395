"""The provenance of an audit: command, data, settings and versions, as rows of a table."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import cast

from affinity.audit import Audit, AuditContext
from affinity.recording import RecordingCost
from affinity.words import count, shorten

from .numbers import number, percent

NAMES = {
    "command": "Command",
    "source": "Data",
    "fingerprint": "Fingerprint of the data",
    "rows": "Rows",
    "layout": "Layout",
    "features": "Features",
    "kinds": "Task types",
    "seed": "Seed",
    "seeds": "Seeds of the replicates",
    "intervals": "Intervals are over",
    "every": "Steps between measurements",
    "recording": "Cost of recording",
    "budget": "Maximum number of networks",
    "width": "Width of the trunks",
    "recipe": "Recipe",
    "methods": "Methods",
    "queries": "Query rows per task or class",
    "inner_rate": "Step size of the inner loop",
    "settings": "Training settings",
    "seconds": "Seconds per stage",
    "versions": "Versions",
}
SHOWN_ELSEWHERE = {"notes", "labels", "limits", "overlap", "race"}
LONGEST = 12


def audit_provenance(audit: Audit) -> list[tuple[str, str]]:
    """Names and texts for the page."""
    settings = context_settings(audit.context)
    if audit.context.recording is not None:
        settings["recording"] = describe_cost(audit.context.recording)
    rows = describe_settings(settings)
    grouping, matrix = audit.plan.grouping, audit.matrix
    rows.append(("Replicates", str(audit.gains.n_replicates)))
    if matrix is not None and matrix.estimator:
        rows.append(("Estimator", matrix.estimator))
    if grouping.solver:
        certificate = "proven optimal within the budget" if grouping.is_optimal else "not proven"
        score = f", score {number(grouping.score)}" if grouping.score is not None else ""
        rows.append(("Solver", f"{grouping.solver}{score}, {certificate}"))
    return [*rows, ("Test of verdicts", repr(audit.test))]


def context_settings(context: AuditContext) -> dict[str, object]:
    """The context's fields and those of its data source by name, without what pages show apart."""
    settings = {
        field.name: getattr(context, field.name)
        for field in fields(context)
        if field.name not in SHOWN_ELSEWHERE
    }
    if (source := context.source) is not None:
        settings |= {"source": source.name, "fingerprint": source.fingerprint}
        settings |= {"layout": source.layout, "features": source.features}
        settings |= {"kinds": source.kinds}
    return settings


def describe_settings(settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and short texts, known names first; empty settings are left out."""
    keys = [key for key in NAMES if key in settings]
    keys += [key for key in settings if key not in NAMES]
    rows = [(NAMES.get(key, key), _text(settings[key])) for key in keys]
    return [(name, text) for name, text in rows if text]


def describe_cost(cost: RecordingCost) -> str:
    """The time of the measurements, compared with that of the training."""
    plain = cost.plain_seconds
    share = f", {percent(cost.seconds / plain, signed=False)} of" if plain else " in addition to"
    return (
        f"{count(cost.measurements, 'measurement')} took {number(cost.seconds)} s{share} the "
        f"{number(plain)} s of training"
    )


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        entries = [
            f"{key}: {text}"
            for key, entry in cast("Mapping[object, object]", value).items()
            if (text := _text(entry))
        ]
        return shorten(entries, LONGEST)
    if isinstance(value, list | tuple):
        return shorten(map(_text, cast("Iterable[object]", value)), LONGEST)
    if isinstance(value, float):
        return number(value)
    return "" if value is None else str(value)
