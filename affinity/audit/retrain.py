"""Retraining: the plan beside separate networks and all-in-one, on the same replicates."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from affinity.errors import DivergenceError, InputError
from affinity.estimates import AffinityMatrix
from affinity.problems import Measurements, Problem, train_networks
from affinity.recommendation import Plan

from .audit import Arrangement, Audit
from .gains import Gains


def retrain(
    plan: Plan,
    problem: Problem,
    replicates: int = 5,
    *,
    seed: int = 1,
    matrix: AffinityMatrix | None = None,
    context: Mapping[str, Any] | None = None,
    keep: bool = False,
) -> Audit:
    """Train the plan, a network a task, and one network for all; judge them on the test rows.

    Every network is trained once on each replicate, at the same width, on the same rows in the
    same order and from the same seed, so that differences are paired. A network that several
    arrangements need is trained once.

    Args:
        plan: Which networks to train.
        problem: Tasks, rows, trunk and heads.
        replicates: How many resamplings of rows and seeds; intervals need at least two.
        seed: Decides the replicates.
        matrix: The affinities that the plan was made from, to be compared with measured gains.
        context: What the report should say of how it was made.
        keep: Whether the audit keeps the trained networks and their predictions.

    Raises:
        InputError: If the plan does not serve the problem's tasks, shares in a way that cannot be
            trained yet, or there is no replicate.
        DivergenceError: If a loss became NaN or infinite in one of the trainings.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.")
    if plan.grouping.tasks != frozenset(problem.names):
        raise InputError(
            f"Expected a plan for the tasks {problem.names}, but it serves "
            f"{tuple(sorted(plan.grouping.tasks))}."
        )
    unknown = sorted({sharing for sharing in plan.sharing if sharing not in ("hard", "separate")})
    if unknown:
        raise InputError(
            f"Expected networks that share hard or are separate, but the plan asks for {unknown}."
        )
    plans = {
        "plan": plan,
        "separate": Plan.separate(problem.names),
        "all-in-one": Plan.all_in_one(problem.names),
    }
    networks = list(
        dict.fromkeys(
            network.trained for each in plans.values() for network in each.grouping.networks
        )
    )
    measured = train_networks(problem, networks, problem.replicates(replicates, seed), keep=keep)
    if measured.diverged:
        raise DivergenceError(
            f"{len(measured.diverged)} of {len(networks) * replicates} trainings diverged. "
            f"{measured.diverged[0]}"
        )
    return Audit(
        problem=problem.name,
        tasks=problem.tasks,
        plan=plan,
        arrangements={
            name: _arrangement(each, problem, measured, plans["separate"])
            for name, each in plans.items()
        },
        matrix=matrix,
        context={**problem.provenance, "notes": list(problem.notes), **(context or {})},
        trained=measured.trained,
    )


def _arrangement(
    plan: Plan, problem: Problem, measured: Measurements, separate: Plan
) -> Arrangement:
    def gains(scores: Tensor, higher_is_better: tuple[bool, ...] | None = None) -> Gains:
        return Gains(
            tasks=problem.names,
            scores=_served(plan, problem.names, measured, scores),
            baseline=_served(separate, problem.names, measured, scores),
            higher_is_better=higher_is_better,
        )

    rows = [measured.networks.index(network.trained) for network in plan.grouping.networks]
    return Arrangement(
        plan=plan,
        test=gains(measured.test_loss),
        evaluation=gains(measured.evaluation_loss),
        metrics=gains(measured.test_metric, tuple(task.higher_is_better for task in problem.tasks)),
        parameters=sum(measured.parameters[row] for row in rows),
        seconds=measured.seconds[rows].sum(dim=0).mean().item(),
    )


def _served(plan: Plan, names: Sequence[str], measured: Measurements, scores: Tensor) -> Tensor:
    """Scores `[replicate task]` of each task in the network that serves it."""
    return torch.stack(
        [
            scores[measured.networks.index(plan.grouping.network_of(name).trained), :, at]
            for at, name in enumerate(names)
        ],
        dim=1,
    )
