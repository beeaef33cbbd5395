"""The page: one self-contained HTML file that works from an e-mail, offline and on paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affinity.audit import Audit, Diagnosis, RepeatedHoldout
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.recording import Trace
from affinity.storage import to_jsonable

from .alerts import find_alerts
from .diagnosis_text import diagnosis_facts
from .facts import facts_of, tally_of
from .figures import figures_of
from .glossary import GLOSSARY, LIMITS
from .made import how_made
from .network_rows import network_rows
from .other_groupings import choices_of, networks_of, stability_of
from .pictures import grouping_for, other_estimates
from .race_rows import race_rows
from .rendering import render
from .result import result_of
from .verdict_words import headline

MANY = 40


def write_report(
    audit: Audit,
    path: str | Path,
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Diagnosis | None = None,
    holdout: RepeatedHoldout | None = None,
) -> Path:
    """Write the audit's page to `path`, and return where it is.

    Args:
        audit: What to show.
        path: The HTML file.
        matrices: Estimates of other estimators, to switch between.
        trace: The recorded run, for what changes over time and from layer to layer.
        diagnosis: Why sharing does harm, for the same problem.
        holdout: The same procedure on other test splits.

    Raises:
        InputError: If the file cannot be written.
    """
    return write_atomically(
        path,
        page_of(audit, matrices=matrices, trace=trace, diagnosis=diagnosis, holdout=holdout),
    )


def page_of(
    audit: Audit,
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Diagnosis | None = None,
    holdout: RepeatedHoldout | None = None,
) -> str:
    """The audit's page as text; the same audit gives the same text."""
    own = [] if audit.matrix is None else [audit.matrix]
    every_matrix = [*own, *matrices, *other_estimates(audit, trace)]
    content = _content(audit, every_matrix, trace, diagnosis, holdout)
    return render(
        "page.html.j2",
        title=f"{audit.problem}: task affinity audit",
        page=content,
        result=to_jsonable(
            result_of(
                audit, every_matrix, content["choices"], content["stability"], diagnosis, holdout
            )
        ),
        networks_of=networks_of,
    )


def _content(
    audit: Audit,
    matrices: Sequence[AffinityMatrix],
    trace: Trace | None,
    diagnosis: Diagnosis | None,
    holdout: RepeatedHoldout | None,
) -> dict[str, Any]:
    summary = audit.summary()
    home = {
        task: str(at)
        for at, network in enumerate(audit.plan.grouping.networks, start=1)
        for task in network.served
    }
    matrix = audit.matrix if grouping_for(audit, audit.matrix) else None
    stability = stability_of(matrix, audit.plan.grouping) if matrix is not None else None
    causes = None if diagnosis is None else diagnosis_facts(diagnosis)
    figures = figures_of(audit, matrices, trace, stability, causes)
    content = {
        "problem": audit.problem,
        "race": race_rows(audit.context.race),
        "advice": audit.advice,
        "alerts": find_alerts(audit, trace, holdout),
        "candidates": summary.candidates,
        "causes": causes,
        "facts": facts_of(audit, holdout),
        "choices": choices_of(matrix, audit.plan.grouping) if matrix is not None else [],
        "stability": stability,
        "figures": figures,
        "gates": [each for name, each in figures.items() if name.startswith("gates")],
        "glossary": GLOSSARY,
        "headline": headline(audit),
        "heatmaps": [each for name, each in figures.items() if name.startswith("heatmap")],
        "limits": LIMITS,
        "made": how_made(audit),
        "many": len(audit.tasks) > MANY,
        "n_replicates": audit.gains.n_replicates,
        "n_tasks": len(audit.tasks),
        "networks": network_rows(audit),
        "holdout": None if holdout is None else holdout.summary(),
        "rows": [{**to_jsonable(row), "network": home[row.name]} for row in summary.tasks],
        "tally": tally_of(audit),
    }
    sections = {
        "verdict": "Verdict",
        "alerts": "Doubts",
        "affinity": "Affinity",
        "change": "Over time",
        "graph-of-tasks": "Graph",
        "race": "Race",
        "groupings": "Groupings",
        "gains": "Gains",
        "draws": "Other test rows",
        "causes": "Causes",
        "gates": "Gates",
        "made": "How it was made",
    }
    left_out = {
        *([] if content["alerts"] else ["alerts"]),
        *([] if content["heatmaps"] else ["affinity", "graph-of-tasks"]),
        *([] if content["race"] else ["race"]),
        *([] if content["choices"] else ["groupings"]),
        *([] if holdout is not None else ["draws"]),
        *([] if diagnosis is not None else ["causes"]),
        *([] if content["gates"] else ["gates"]),
        *([] if {"over-time", "layers"} & set(figures) else ["change"]),
    }
    content["contents"] = [entry for entry in sections.items() if entry[0] not in left_out]
    return content
