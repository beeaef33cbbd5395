"""The page: one self-contained HTML file that works from an e-mail, offline and on paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.grouping import Stability
from affinity.recording import Trace

from .alerts import find_alerts
from .drawing import inline_svg
from .glossary import GLOSSARY, LIMITS
from .made import how_made
from .network_rows import network_rows
from .numbers import count, number, percent, percent_range
from .other_groupings import choices_of, networks_of, stability_of
from .pictures import grouping_for, other_estimates, pictures_of, title_of
from .rendering import Figure, render, tone
from .result import result_of
from .verdict_words import headline

MANY = 40
TIMES = "\N{MULTIPLICATION SIGN}"


def write_report(
    audit: Audit,
    path: str | Path,
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Mapping[str, Any] | None = None,
) -> Path:
    """Write the audit's page to `path`, and return where it is.

    Args:
        audit: What to show.
        path: The HTML file.
        matrices: Estimates of other estimators, to switch between.
        trace: The recorded run, for what changes over time and from layer to layer.
        diagnosis: Of the same problem, as `Diagnosis.to_dict` gives it.

    Raises:
        InputError: If the file cannot be written.
    """
    return write_atomically(
        path, page_of(audit, matrices=matrices, trace=trace, diagnosis=diagnosis)
    )


def page_of(
    audit: Audit,
    *,
    matrices: Sequence[AffinityMatrix] = (),
    trace: Trace | None = None,
    diagnosis: Mapping[str, Any] | None = None,
) -> str:
    """The audit's page as text; the same audit gives the same text."""
    own = [] if audit.matrix is None else [audit.matrix]
    every_matrix = [*own, *matrices, *other_estimates(audit, trace)]
    content = _content(audit, every_matrix, trace, diagnosis)
    return render(
        "page.html.j2",
        title=f"{audit.problem}: task affinity audit",
        page=content,
        result=result_of(audit, every_matrix, content["choices"], content["stability"], diagnosis),
        networks_of=networks_of,
    )


def _content(
    audit: Audit,
    matrices: Sequence[AffinityMatrix],
    trace: Trace | None,
    diagnosis: Mapping[str, Any] | None,
) -> dict[str, Any]:
    values = audit.to_dict()
    home = {
        task: str(at)
        for at, network in enumerate(audit.plan.grouping.networks, start=1)
        for task in network.served
    }
    matrix = audit.matrix if grouping_for(audit, audit.matrix) else None
    stability = stability_of(matrix, audit.plan.grouping) if matrix is not None else None
    figures = _figures(audit, matrices, trace, stability, diagnosis)
    content = {
        "problem": audit.problem,
        "race": audit.context.get("race"),
        "advice": audit.advice,
        "alerts": find_alerts(audit, trace),
        "arrangements": values["arrangements"],
        "causes": diagnosis,
        "facts": _facts(audit),
        "choices": choices_of(matrix, audit.plan.grouping) if matrix is not None else [],
        "stability": stability,
        "figures": figures,
        "glossary": GLOSSARY,
        "headline": headline(audit),
        "heatmaps": [each for name, each in figures.items() if name.startswith("heatmap")],
        "limits": LIMITS,
        "made": how_made(audit),
        "many": len(audit.tasks) > MANY,
        "n_replicates": audit.gains.n_replicates,
        "n_tasks": len(audit.tasks),
        "networks": network_rows(audit),
        "rows": [{**row, "network": home[row["name"]]} for row in values["tasks"]],
        "tally": _tally(audit),
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
        "causes": "Causes",
        "made": "How it was made",
    }
    left_out = {
        *([] if content["alerts"] else ["alerts"]),
        *([] if content["heatmaps"] else ["affinity", "graph-of-tasks"]),
        *([] if content["race"] else ["race"]),
        *([] if content["choices"] else ["groupings"]),
        *([] if diagnosis is not None else ["causes"]),
        *([] if {"over-time", "layers"} & set(figures) else ["change"]),
    }
    content["contents"] = [entry for entry in sections.items() if entry[0] not in left_out]
    return content


def _facts(audit: Audit) -> list[dict[str, str]]:
    plan, overall = audit.arrangements["plan"], audit.overall
    facts = [
        {
            "name": "Mean gain of the plan",
            "value": percent(overall.gain),
            "note": percent_range(overall.low, overall.high) or "one replicate: no interval",
            "tone": tone(overall.low, overall.high),
        }
    ]
    if "all-in-one" in audit.arrangements:
        overall = audit.overall_of("all-in-one")
        facts.append(
            {
                "name": "Mean gain of all-in-one",
                "value": percent(overall.gain),
                "note": percent_range(overall.low, overall.high) or "one replicate: no interval",
                "tone": tone(overall.low, overall.high),
            }
        )
    facts.append(
        {
            "name": "Networks of the plan",
            "value": str(len(plan.plan.grouping.networks)),
            "note": f"for {count(len(audit.tasks), 'task')}",
            "tone": "",
        }
    )
    separate = audit.arrangements.get("separate")
    if separate is not None and separate.parameters:
        facts.append(
            {
                "name": "Parameters of the plan",
                "value": number(plan.parameters / separate.parameters, digits=2) + TIMES,
                "note": f"{number(plan.parameters)}, {number(separate.parameters)} if separate",
                "tone": "",
            }
        )
    facts.append(
        {
            "name": "Replicates",
            "value": str(audit.gains.n_replicates),
            "note": "fresh rows and seeds, paired",
            "tone": "",
        }
    )
    return facts


def _tally(audit: Audit) -> dict[str, Any]:
    verdicts = [verdict.verdict for verdict in audit.verdicts.values()]
    parts: list[dict[str, Any]] = []
    start = 0
    for name in ("beneficial", "neutral", "undecided", "harmful"):
        if amount := verdicts.count(name):
            parts.append({"verdict": name, "count": amount, "start": start})
            start += amount
    return {"total": len(verdicts), "parts": parts}


def _figures(
    audit: Audit,
    matrices: Sequence[AffinityMatrix],
    trace: Trace | None,
    stability: Stability | None,
    diagnosis: Mapping[str, Any] | None,
) -> dict[str, Figure]:
    n_tasks = count(len(audit.tasks), "task")
    said = {
        "gains": (
            "Measured gains",
            f"Dot plot of the gain of each of {n_tasks} over its separate network, with intervals, "
            "under the plan and other arrangements. The same numbers are in the table below.",
            "",
        ),
        "graph": (
            "Task graph",
            f"{n_tasks} in a circle, network by network, with an arrow for each affinity that is "
            "beyond its noise.",
            "Arrows run from source to target, at most three onto each task; blue helps, orange "
            "and dashed harms, wider is stronger. Numbers in brackets are the networks.",
        ),
        "over-time": (
            "Affinity over time",
            f"The affinities between {n_tasks} in consecutive parts of the run.",
            "Consecutive parts of the recorded run, on one scale. Affinities that change sign are "
            "a weak reason to group: near a joint optimum even related tasks seem to oppose each "
            "other.",
        ),
        "causes": (
            "What changes recovered",
            "Dot plot of what each change recovered of the harm, with intervals, grouped by cause. "
            "The same numbers are in the table below.",
            "",
        ),
        "together": (
            "How often two tasks stay together",
            "In which share of redrawn matrices one network serves two tasks.",
            "Percent of redrawn matrices in which one network serves both tasks.",
        ),
        "layers": (
            "Conflict by layer",
            "For each pair of tasks and each layer the share of measurements at which the two "
            "gradients point apart.",
            "Orange pairs conflict, blue ones agree, a half is what unrelated tasks show. Pairs "
            "that agree in the first layers and conflict in the last could share a trunk that "
            "branches in between.",
        ),
    }
    figures: dict[str, Figure] = {}
    for name, picture in pictures_of(audit, matrices, trace, stability, diagnosis).items():
        if name.startswith("heatmap"):
            at = int(name.partition("-")[2] or 1) - 1
            title = title_of(matrices[at])
            alt = (
                f"Heatmap of the affinities between {n_tasks}, {title}: sources as rows, targets "
                "as columns. The same numbers are in the JSON of this page."
            )
            caption = f"{matrices[at].estimator or title}. Point at a cell for its interval."
        else:
            at, (title, alt, caption) = None, said[name]
        svg = Markup(inline_svg(picture, name))
        figures[name] = Figure(name, title, alt, svg, caption, at)
    return figures
