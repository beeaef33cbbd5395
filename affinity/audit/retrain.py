"""Retraining: the plan beside its baselines, on the same replicates."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from affinity.errors import DivergenceError, InputError
from affinity.estimates import AffinityMatrix, LabelOverlap
from affinity.problems import Problem, TimeBlocks
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest
from affinity.tasks import Replicate
from affinity.training import MOST_BLOCKS, TrainedNetwork, TrainingSettings

from .audit import Audit
from .baselines import BASELINES, RANDOM, PlanOn, arrangements_for
from .context import AuditContext
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .limitations import find_limitations
from .measure import Measured, Part, Plans, measure, ways_of
from .task_description import TaskDescription

MANY_TASKS = 100


def retrain(
    plan: Plan,
    problem: Problem,
    replicates: int = 5,
    *,
    seed: int = 1,
    baselines: Sequence[str] = BASELINES,
    test: NegativeTransferTest | None = None,
    until: Literal["decided"] | None = None,
    max_replicates: int = 40,
    minutes: float | None = None,
    matrix: AffinityMatrix | None = None,
    context: AuditContext | None = None,
    keep: bool = False,
    store: str | Path | None = None,
    backend: str | None = None,
) -> Audit:
    """Train the plan, a network a task, one network for all, and more; judge them on the test rows.

    Every network is trained once on each replicate, on the same rows in the same order and from
    the same seed, so that differences are paired. A network that several arrangements need is
    trained once. Networks are of one size: those that share in another way than hard are as
    narrow as it takes to have as many parameters (see `measure`).

    With ``until="decided"`` replicates are added, as many as there are at a time, until no verdict
    on the plan is undecided, for a task or for all, or until there are `max_replicates`, or
    `minutes` are spent. Verdicts are as strict as looking repeatedly demands
    (`affinity.statistics.spending`).

    Args:
        plan: Which networks to train.
        problem: Tasks, rows, trunk and heads.
        replicates: How many resamplings of rows and seeds; intervals need at least two.
        seed: Decides the replicates.
        baselines: What else stands beside the plan: a random grouping, separate networks and
            all-in-one at the plan's number of parameters (`baselines.arrangements_for`).
        test: How verdicts are reached.
        until: Whether to go on until the verdicts are ``decided``.
        max_replicates: How many replicates then at most.
        minutes: How long to go on then at most; the first `replicates` are always trained.
        matrix: The affinities that the plan was made from, to be compared with measured gains.
        context: What the report should say of how it was made.
        keep: Whether the audit keeps the trained networks and their predictions.
        store: A folder in which finished trainings are kept: the same call does what is missing.
        backend: Train each network by itself on ``loky``, ``ray`` or ``dask``; chosen if None.

    Raises:
        InputError: If the plan does not serve the problem's tasks, shares in a way that does not
            fit its trunk, there is no such baseline, or there is no replicate.
        DivergenceError: If a loss became NaN or infinite in a training of the plan, or of every
            separate network. Other trainings that diverged leave gains undefined, and are told.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.")
    if plan.grouping.tasks != frozenset(problem.names):
        raise InputError(
            f"Expected a plan for the tasks {problem.names}, but it serves "
            f"{tuple(sorted(plan.grouping.tasks))}."
        )
    if until is None and minutes is not None:
        raise InputError("Expected until='decided' where minutes are given to get there.")
    compared, left_out = arrangements_for(plan, problem, baselines)
    most = max(replicates, max_replicates) if until else replicates
    start = time.monotonic()
    done, goal, looks = 0, replicates, ()
    found: _Found | None = None
    audit: Audit | None = None
    while audit is None or goal > done:
        seeds = problem.replicate_seeds(goal, seed)[done:]
        drawn = [problem.replicate(each) for each in seeds]
        more = _measured(compared, problem, drawn, store, backend, keep)
        found = more if found is None else found.joined(more)
        done = goal
        goal = _goal(done, most, time.monotonic() - start, minutes)
        looks = (*looks, (done, done / most if goal > done else 1.0))
        audit = Audit(
            problem=problem.name,
            tasks=tuple(map(TaskDescription.from_task, problem.tasks)),
            plan=plan,
            candidates=found.candidates,
            matrix=matrix,
            test=replace(test or NegativeTransferTest(), looks=looks if until else ()),
            context=replace(
                context or AuditContext(),
                source=problem.source,
                notes=tuple(problem.notes),
                limits=(*left_out, *find_limitations(problem, found.candidates)),
                width=problem.width,
                settings=_describe(problem.settings),
                rows={"development": len(problem.development), "test": len(problem.test)},
                overlap=LabelOverlap.of(problem),
            ),
            networks=found.networks,
            gates=found.gates,
        )
        if audit.test.is_decided(audit.gains):
            break
    return audit


def _goal(done: int, most: int, spent: float, minutes: float | None) -> int:
    """How many replicates to have next: twice as many, or what fits into the time."""
    goal = min(2 * done, most)
    if minutes is None:
        return goal
    fitting = int((60 * minutes - spent) * done / max(spent, 1e-9))
    return done if fitting < max(1, (goal - done) // 2) else min(goal, done + fitting)


@dataclass(frozen=True, eq=False)
class _Found:
    """What trainings on some replicates have shown: the fields of an audit."""

    candidates: dict[str, EvaluatedPlan]
    networks: dict[str, tuple[tuple[TrainedNetwork, ...], ...]]
    gates: tuple[Gates | None, ...]

    def joined(self, more: "_Found") -> "_Found":
        """These replicates and more."""
        return _Found(
            candidates={
                name: each.joined(more.candidates[name]) for name, each in self.candidates.items()
            },
            networks={
                name: tuple(a + b for a, b in zip(each, more.networks[name], strict=True))
                for name, each in self.networks.items()
            },
            gates=tuple(
                a and b and a.joined(b) for a, b in zip(self.gates, more.gates, strict=True)
            ),
        )


def _measured(
    compared: Mapping[str, PlanOn],
    problem: Problem,
    drawn: Sequence[Replicate],
    store: str | Path | None,
    backend: str | None,
    keep: bool,
) -> _Found:
    """Every arrangement on these replicates, and its networks if they are kept."""
    plans: dict[str, Plans] = {
        name: [on(replicate.seed) for replicate in drawn] for name, on in compared.items()
    }
    measured = measure(plans.values(), problem, drawn, store=store, backend=backend, keep=keep)
    first = {name: on(drawn[0].seed) for name, on in compared.items()}
    arrangements = {
        name: _arrangement(first[name], each, problem, measured, plans["separate"])
        for name, each in plans.items()
    }
    if diverged := measured.diverged:
        needed = (arrangements["plan"].test.scores, arrangements["separate"].test.scores)
        if bool(needed[0].isnan().any() or needed[1].isnan().any(dim=0).all()):
            raise DivergenceError(f"{len(diverged)} trainings diverged. {diverged[0]}")
    kept = {name: measured.trained(each) for name, each in first.items() if name != RANDOM}
    return _Found(
        arrangements, kept if keep else {}, _gates(first["plan"], problem, measured, drawn)
    )


def _gates(
    plan: Plan, problem: Problem, measured: Measured, drawn: Sequence[Replicate]
) -> tuple[Gates | None, ...]:
    """Those of the plan's mixtures; None for other networks and for trainings elsewhere."""
    if "mmoe" not in plan.sharing:
        return (None,) * len(plan.grouping.networks)
    return tuple(
        Gates.of(problem, way, trained, drawn) if way.sharing == "mmoe" and trained else None
        for (_, way), trained in zip(ways_of(plan), measured.trained(plan), strict=True)
    )


def _arrangement(
    first: Plan, plans: Plans, problem: Problem, measured: Measured, separate: Plans
) -> EvaluatedPlan:
    def gains(part: Part, higher_is_better: tuple[bool, ...] | None = None) -> Gains:
        return Gains(
            tasks=problem.names,
            scores=measured.served(plans, part),
            baseline=measured.served(separate, part),
            higher_is_better=higher_is_better,
        )

    n_blocks = _blocks_of(problem)
    cost = measured.cost(first)
    return EvaluatedPlan(
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
        costs=measured.costs_of(first),
    )


def _blocks_of(problem: Problem) -> int:
    """Into how many blocks test rows are cut to tell what other test rows would change.

    Long blocks where neighbours in time resemble each other; fewer where many tasks would make
    them large in memory and on disk.
    """
    if isinstance(problem.resampling, TimeBlocks):
        return problem.resampling.blocks
    return MOST_BLOCKS if len(problem.tasks) <= MANY_TASKS else MOST_BLOCKS // 4


def _describe(settings: TrainingSettings) -> dict[str, str | int | float]:
    """Training settings as names and numbers."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {
        name: value if isinstance(value, str | int | float) else repr(value)
        for name, value in values.items()
    }
