"""The few numbers under the verdict."""

from typing import Any

from affinity.audit import Audit, RepeatedHoldout
from affinity.words import count

from .numbers import number, percent, percent_range
from .rendering import tone

TIMES = "\N{MULTIPLICATION SIGN}"


def facts_of(audit: Audit, holdout: RepeatedHoldout | None = None) -> list[dict[str, str]]:
    """Name, value, note and tone of each."""
    plan, overall = audit.candidates["plan"], audit.overall
    facts = [
        {
            "name": "Mean gain of the plan",
            "value": percent(overall.gain),
            "note": percent_range(overall.low, overall.high) or "one replicate: no interval",
            "tone": tone(overall.low, overall.high),
        }
    ]
    if holdout is not None:
        found = holdout.procedure("plan")
        facts.append(
            {
                "name": f"The same over {count(len(holdout.audits), 'draw')} of the test rows",
                "value": percent(found.gain),
                "note": percent_range(found.low, found.high),
                "tone": tone(found.low, found.high),
            }
        )
    if "all-in-one" in audit.candidates:
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
    separate = audit.candidates.get("separate")
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


def tally_of(audit: Audit) -> dict[str, Any]:
    """How many tasks have each verdict, as a bar is drawn."""
    verdicts = [verdict.verdict for verdict in audit.verdicts.values()]
    parts: list[dict[str, Any]] = []
    start = 0
    for name in ("beneficial", "neutral", "undecided", "harmful"):
        if amount := verdicts.count(name):
            parts.append({"verdict": name, "count": amount, "start": start})
            start += amount
    return {"total": len(verdicts), "parts": parts}
