"""Retraining: the plan beside separate networks and all-in-one, on the same replicates."""

from collections.abc import Mapping
from typing import Any

from affinity.errors import DivergenceError, InputError
from affinity.estimates import AffinityMatrix
from affinity.problems import Problem
from affinity.recommendation import Plan

from .audit import Arrangement, Audit
from .gains import Gains
from .measure import Measured, Part, measure


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

    Every network is trained once on each replicate, on the same rows in the same order and from
    the same seed, so that differences are paired. A network that several arrangements need is
    trained once. Networks are of one size: those that share in another way than hard are as
    narrow as it takes to have as many parameters (see `measure`).

    Args:
        plan: Which networks to train.
        problem: Tasks, rows, trunk and heads.
        replicates: How many resamplings of rows and seeds; intervals need at least two.
        seed: Decides the replicates.
        matrix: The affinities that the plan was made from, to be compared with measured gains.
        context: What the report should say of how it was made.
        keep: Whether the audit keeps the trained networks and their predictions.

    Raises:
        InputError: If the plan does not serve the problem's tasks, shares in a way that does not
            fit its trunk, or there is no replicate.
        DivergenceError: If a loss became NaN or infinite in one of the trainings.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.")
    if plan.grouping.tasks != frozenset(problem.names):
        raise InputError(
            f"Expected a plan for the tasks {problem.names}, but it serves "
            f"{tuple(sorted(plan.grouping.tasks))}."
        )
    plans = {
        "plan": plan,
        "separate": Plan.separate(problem.names),
        "all-in-one": Plan.all_in_one(problem.names),
    }
    measured = measure(plans.values(), problem, problem.replicates(replicates, seed), keep=keep)
    if diverged := measured.diverged:
        raise DivergenceError(
            f"{len(diverged)} of {len(measured.ways) * replicates} trainings diverged. "
            f"{diverged[0]}"
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
        trained={name: measured.trained(each) for name, each in plans.items()} if keep else {},
    )


def _arrangement(plan: Plan, problem: Problem, measured: Measured, separate: Plan) -> Arrangement:
    def gains(part: Part, higher_is_better: tuple[bool, ...] | None = None) -> Gains:
        return Gains(
            tasks=problem.names,
            scores=measured.served(plan, part),
            baseline=measured.served(separate, part),
            higher_is_better=higher_is_better,
        )

    return Arrangement(
        plan=plan,
        test=gains("test_loss"),
        evaluation=gains("evaluation_loss"),
        metrics=gains("test_metric", tuple(task.higher_is_better for task in problem.tasks)),
        parameters=measured.parameters(plan),
        seconds=measured.seconds(plan),
    )
