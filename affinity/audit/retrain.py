"""Retraining: the plan beside its baselines, on the same replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from affinity.errors import DivergenceError, InputError
from affinity.estimates import AffinityMatrix, Overlap
from affinity.problems import Problem, TimeBlocks
from affinity.recommendation import Plan
from affinity.training import MOST_BLOCKS

from .audit import Arrangement, Audit
from .baselines import BASELINES, RANDOM, arrangements_for
from .gains import Gains
from .measure import Measured, Part, Plans, measure

MANY_TASKS = 100


def retrain(
    plan: Plan,
    problem: Problem,
    replicates: int = 5,
    *,
    seed: int = 1,
    baselines: Sequence[str] = BASELINES,
    matrix: AffinityMatrix | None = None,
    context: Mapping[str, Any] | None = None,
    keep: bool = False,
    store: str | Path | None = None,
    backend: str | None = None,
) -> Audit:
    """Train the plan, a network a task, one network for all, and more; judge them on the test rows.

    Every network is trained once on each replicate, on the same rows in the same order and from
    the same seed, so that differences are paired. A network that several arrangements need is
    trained once. Networks are of one size: those that share in another way than hard are as
    narrow as it takes to have as many parameters (see `measure`).

    Args:
        plan: Which networks to train.
        problem: Tasks, rows, trunk and heads.
        replicates: How many resamplings of rows and seeds; intervals need at least two.
        seed: Decides the replicates.
        baselines: What else stands beside the plan: a random grouping, separate networks and
            all-in-one at the plan's number of parameters (`baselines.arrangements_for`).
        matrix: The affinities that the plan was made from, to be compared with measured gains.
        context: What the report should say of how it was made.
        keep: Whether the audit keeps the trained networks and their predictions.
        store: A folder in which finished trainings are kept: the same call does what is missing.
        backend: Train each network by itself on ``loky``, ``ray`` or ``dask``; chosen if None.

    Raises:
        InputError: If the plan does not serve the problem's tasks, shares in a way that does not
            fit its trunk, there is no such baseline, or there is no replicate.
        DivergenceError: If a loss became NaN or infinite in one of the trainings.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.")
    if plan.grouping.tasks != frozenset(problem.names):
        raise InputError(
            f"Expected a plan for the tasks {problem.names}, but it serves "
            f"{tuple(sorted(plan.grouping.tasks))}."
        )
    compared, notes = arrangements_for(plan, problem, baselines)
    drawn = problem.replicates(replicates, seed)
    plans: dict[str, Plans] = {
        name: [on(replicate.seed) for replicate in drawn] for name, on in compared.items()
    }
    measured = measure(plans.values(), problem, drawn, store=store, backend=backend, keep=keep)
    if diverged := measured.diverged:
        raise DivergenceError(f"{len(diverged)} trainings diverged. {diverged[0]}")
    first = {name: on(drawn[0].seed) for name, on in compared.items()}
    return Audit(
        problem=problem.name,
        tasks=problem.tasks,
        plan=plan,
        arrangements={
            name: _arrangement(first[name], each, problem, measured, plans["separate"])
            for name, each in plans.items()
        },
        matrix=matrix,
        context={
            **problem.provenance,
            "notes": [*problem.notes, *notes],
            "width": problem.width,
            "overlap": asdict(Overlap.of(problem)),
            **(context or {}),
        },
        trained={name: measured.trained(each) for name, each in first.items() if name != RANDOM}
        if keep
        else {},
    )


def _arrangement(
    first: Plan, plans: Plans, problem: Problem, measured: Measured, separate: Plans
) -> Arrangement:
    def gains(part: Part, higher_is_better: tuple[bool, ...] | None = None) -> Gains:
        return Gains(
            tasks=problem.names,
            scores=measured.served(plans, part),
            baseline=measured.served(separate, part),
            higher_is_better=higher_is_better,
        )

    n_blocks = _blocks_of(problem)
    cost = measured.cost(first)
    return Arrangement(
        plan=first,
        test=replace(
            gains("test_loss"),
            score_blocks=measured.blocks(plans, n_blocks),
            baseline_blocks=measured.blocks(separate, n_blocks),
        ),
        evaluation=gains("evaluation_loss"),
        metrics=gains("test_metric", tuple(task.higher_is_better for task in problem.tasks)),
        parameters=cost.parameters,
        seconds=measured.seconds(plans).mean().item(),
        multiply_adds=cost.multiply_adds,
    )


def _blocks_of(problem: Problem) -> int:
    """Into how many blocks test rows are cut to tell what other test rows would change.

    Long blocks where neighbours in time resemble each other; fewer where many tasks would make
    them large in memory and on disk.
    """
    if isinstance(problem.resampling, TimeBlocks):
        return problem.resampling.blocks
    return MOST_BLOCKS if len(problem.tasks) <= MANY_TASKS else MOST_BLOCKS // 4
