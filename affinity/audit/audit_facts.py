"""The facts of an audit: verdicts, scores and costs as plain values, for JSON and the page."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from affinity.statistics import Gains, Verdict

from .metric_name import metric_name
from .plain import plain

if TYPE_CHECKING:
    from .audit import Audit

SCHEMA_VERSION = 1


def facts_of(audit: "Audit") -> dict[str, Any]:
    """Everything that `affinity.report.schema` names; what is undefined is None."""
    agreement = audit.agreement
    return plain(
        {
            "schema_version": SCHEMA_VERSION,
            "problem": audit.problem,
            "n_replicates": audit.gains.n_replicates,
            "advice": audit.advice,
            "overall": _of_verdict(audit.overall),
            "tasks": _of_tasks(audit),
            "networks": _of_networks(audit),
            "grouping": {
                "score": audit.plan.grouping.score,
                "bound": audit.plan.grouping.bound,
                "is_optimal": audit.plan.grouping.is_optimal,
                "solver": audit.plan.grouping.solver,
            },
            "arrangements": {
                name: {
                    "networks": len(arrangement.plan.grouping.networks),
                    "width": arrangement.plan.width or audit.context.get("width"),
                    "parameters": arrangement.parameters,
                    "multiply_adds": arrangement.multiply_adds,
                    "seconds": arrangement.seconds,
                    "verdict": audit.overall_of(name).verdict,
                    "gain": _summary(arrangement.test),
                    "evaluation_gain": _summary(arrangement.evaluation),
                }
                for name, arrangement in audit.arrangements.items()
            },
            "agreement": None if agreement is None else asdict(agreement),
            "context": dict(audit.context),
        }
    )


def _of_tasks(audit: "Audit") -> list[dict[str, Any]]:
    metrics = audit.arrangements["plan"].metrics.frame()
    all_in_one = audit.verdicts_of("all-in-one")
    facts: list[dict[str, Any]] = []
    for at, (task, verdict) in enumerate(zip(audit.tasks, audit.verdicts.values(), strict=True)):
        together = _of_verdict(all_in_one[task.name])
        facts.append(
            {
                "name": task.name,
                **_of_verdict(verdict),
                "all_in_one": {name: together[name] for name in ("verdict", "gain", "low", "high")},
                "loss": {
                    name: _mean(arrangement.test, at)
                    for name, arrangement in audit.arrangements.items()
                },
                "metric": {
                    "name": metric_name(task),
                    **{
                        name: _mean(arrangement.metrics, at)
                        for name, arrangement in audit.arrangements.items()
                    },
                    "difference": metrics["difference"][at],
                    "low": metrics["difference_low"][at],
                    "high": metrics["difference_high"][at],
                },
            }
        )
    return facts


def _of_networks(audit: "Audit") -> list[dict[str, Any]]:
    plan, costs = audit.plan, audit.arrangements["plan"].costs
    n_networks = len(plan.grouping.networks)
    return [
        {
            "serves": sorted(network.served),
            "trains": sorted(network.trained),
            "sharing": sharing,
            "reason": reason,
            "parameters": cost and cost.parameters,
            "multiply_adds": cost and cost.multiply_adds,
            "gates": gates and gates.to_dict(),
        }
        for network, sharing, reason, cost, gates in zip(
            plan.grouping.networks,
            plan.sharing,
            plan.reasons,
            costs or (None,) * n_networks,
            audit.gates or (None,) * n_networks,
            strict=True,
        )
    ]


def _of_verdict(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in asdict(verdict).items() if name != "task"}


def _mean(gains: Gains, task: int) -> float:
    return gains.scores.double().mean(dim=0)[task].item()


def _summary(gains: Gains) -> dict[str, float]:
    found = gains.estimate_overall()
    low, high = found.interval()
    return {"mean": float(found.mean[0]), "low": float(low[0]), "high": float(high[0])}
