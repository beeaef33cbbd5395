"""The facts of a diagnosis: harm, causes and changes as plain values, for JSON and the page."""

from typing import TYPE_CHECKING, Any

import numpy as np

from affinity.statistics import Verdict, interval

from .causes import Intervention
from .diagnosis_words import said
from .plain import plain

if TYPE_CHECKING:
    from .diagnosis import Diagnosis

SCHEMA_VERSION = 1


def facts_of(diagnosis: "Diagnosis") -> dict[str, Any]:
    """Everything; what is undefined is None."""
    verdicts = diagnosis.verdicts()
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            "problem": diagnosis.problem,
            "n_replicates": diagnosis.n_replicates,
            "networks": [sorted(each.trained) for each in diagnosis.plan.grouping.networks],
            "harmed": diagnosis.harmed,
            "together": diagnosis.together,
            "harm": {rows: _summary(diagnosis.harm(rows)) for rows in ("evaluation", "test")},
            "headline": diagnosis.headline(),
            "cause": diagnosis.cause,
            "advice": diagnosis.advice,
            "findings": [
                {
                    "cause": finding.cause,
                    "status": diagnosis.status(finding),
                    "evidence": finding.evidence,
                    "skipped": finding.skipped,
                    "remedy": None if (best := diagnosis.remedy(finding)) is None else best.name,
                    "changes": [
                        _of_change(diagnosis, change, verdicts[change.name])
                        for change in finding.changes
                    ],
                }
                for finding in diagnosis.ranked()
            ],
            "context": dict(diagnosis.context),
        }
    )


def _of_change(diagnosis: "Diagnosis", change: Intervention, verdict: Verdict) -> dict[str, Any]:
    concerned = diagnosis.concerned
    on_evaluation = change.on("evaluation", concerned)
    harm = float(np.nanmean(diagnosis.harm("evaluation")))
    return {
        "name": change.name,
        "advice": change.advice,
        "decides": change.decides,
        "is_remedy": change.is_remedy,
        "verdict": said(change, verdict),
        "p_value": verdict.p_value,
        "recovered": {
            "evaluation": _summary(on_evaluation),
            "test": _summary(change.on("test", concerned)),
            "tasks": dict(zip(diagnosis.tasks, change.test.mean(axis=0), strict=True)),
        },
        "share_of_harm": np.nanmean(on_evaluation) / harm if diagnosis.shows_harm else None,
        "parameters": change.parameters,
        "passes": change.passes,
        "cost": change.cost,
    }


def _summary(values: np.ndarray) -> dict[str, Any]:
    low, high = interval(values)
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
