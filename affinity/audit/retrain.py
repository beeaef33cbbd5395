"""Retraining: train the plan and its baselines on the same replicates."""

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
from affinity.tasks import Replicate, Score, Task
from affinity.training import MOST_BLOCKS, TrainedNetwork, TrainingSettings

from .audit import Audit
from .baselines import BASELINES, RANDOM, PlanOfSeed, make_candidates
from .context import AuditContext
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .limitations import find_limitations
from .task_description import TaskDescription
from .train_plans import PlanResults, Plans, ScoreName, specs_of, train_plans

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
    """Train the plan and its baselines, and evaluate them on test rows.

    The baselines are separate networks, one network for all tasks, and optional ones. Every network
    is trained once per replicate. All networks of a replicate use the same rows, order of rows and
    random seed: differences are paired. A network that several candidates need is trained once.
    Networks have equal size: those without hard sharing are narrowed until they have as many
    parameters as with hard sharing (see `train_plans`).

    With ``until="decided"`` the number of replicates is doubled until no verdict on the plan is
    undecided (per task and overall), `max_replicates` is reached, or `minutes` are over. Verdicts
    are corrected for these interim looks (`affinity.statistics.spending`).

    Args:
        plan: Which networks to train.
        problem: Tasks, rows, trunk and heads.
        replicates: Number of replicates (new data split and seed each); intervals need two.
        seed: Random seed of the replicates.
        baselines: Optional baselines: a random grouping, separate networks and all-in-one at the
            plan's number of parameters (`baselines.make_candidates`).
        test: The statistical test behind the verdicts.
        until: ``"decided"`` to add replicates until the verdicts are decided; None for a fixed
            number.
        max_replicates: Maximum number of replicates with ``until="decided"``.
        minutes: Time limit with ``until="decided"``; the first `replicates` are always trained.
        matrix: The affinities that the plan was made from, to be compared with measured gains.
        context: How the plan was made, for the report.
        keep: Whether the audit keeps the trained networks and their predictions.
        store: A folder for finished trainings: the same call runs only the missing ones.
        backend: Train networks separately on ``loky``, ``ray`` or ``dask``; chosen if None.

    Raises:
        InputError: If the plan does not serve the problem's tasks, uses a way to share that the
            trunk does not support, a baseline is unknown, or `replicates` is below 1.
        DivergenceError: If a loss became NaN or infinite in a training of the plan, or of every
            separate network. If other trainings diverge, their gains are undefined and the audit's
            limitations list them.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.", "no-replicates")
    if plan.grouping.tasks != frozenset(problem.names):
        raise InputError(
            f"Expected a plan for the tasks {problem.names}, but it serves "
            f"{tuple(sorted(plan.grouping.tasks))}.",
            "different-tasks",
        )
    if until is None and minutes is not None:
        raise InputError(
            "Expected until='decided' where minutes are given to get there.",
            "minutes-without-until",
        )
    candidates, left_out = make_candidates(plan, problem, baselines)
    most = max(replicates, max_replicates) if until else replicates
    start = time.monotonic()
    done, goal, looks = 0, replicates, ()
    results: _Results | None = None
    audit: Audit | None = None
    while audit is None or goal > done:
        seeds = problem.replicate_seeds(goal, seed)[done:]
        drawn = [problem.replicate(each) for each in seeds]
        more = _train_candidates(candidates, problem, drawn, store, backend, keep)
        results = more if results is None else results.joined(more)
        done = goal
        goal = _goal(done, most, time.monotonic() - start, minutes)
        looks = (*looks, (done, done / most if goal > done else 1.0))
        audit = Audit(
            problem=problem.name,
            tasks=tuple(map(TaskDescription.from_task, problem.tasks)),
            plan=plan,
            candidates=results.candidates,
            matrix=matrix,
            test=replace(test or NegativeTransferTest(), looks=looks if until else ()),
            context=replace(
                context or AuditContext(),
                source=problem.source,
                notes=tuple(problem.notes),
                limits=(*left_out, *find_limitations(problem, results.candidates)),
                width=problem.width,
                settings=_describe(problem.settings),
                rows={"development": len(problem.development), "test": len(problem.test)},
                labels=problem.label_counts(problem.replicate_seeds(1, seed)[0]),
                intervals=None
                if problem.test.groups is None
                else "groups of test rows and replicates",
                overlap=LabelOverlap.of(problem),
            ),
            networks=results.networks,
            gates=results.gates,
        )
        if audit.test.is_decided(audit.gains):
            break
    return audit


def _goal(done: int, most: int, spent: float, minutes: float | None) -> int:
    """The next number of replicates: twice as many, or as many as the time limit allows."""
    goal = min(2 * done, most)
    if minutes is None:
        return goal
    fitting = int((60 * minutes - spent) * done / max(spent, 1e-9))
    return done if fitting < max(1, (goal - done) // 2) else min(goal, done + fitting)


@dataclass(frozen=True, eq=False)
class _Results:
    """The fields of an audit that follow from its trainings."""

    candidates: dict[str, EvaluatedPlan]
    networks: dict[str, tuple[tuple[TrainedNetwork, ...], ...]]
    gates: tuple[Gates | None, ...]

    def joined(self, more: "_Results") -> "_Results":
        """The replicates of both."""
        return _Results(
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


def _train_candidates(
    candidates: Mapping[str, PlanOfSeed],
    problem: Problem,
    replicates: Sequence[Replicate],
    store: str | Path | None,
    backend: str | None,
    keep: bool,
) -> _Results:
    plans: dict[str, Plans] = {
        name: [plan_of(replicate.seed) for replicate in replicates]
        for name, plan_of in candidates.items()
    }
    results = train_plans(
        plans.values(), problem, replicates, store=store, backend=backend, keep=keep
    )
    first = {name: plan_of(replicates[0].seed) for name, plan_of in candidates.items()}
    evaluated = {
        name: _evaluate(first[name], each, problem, results, plans["separate"])
        for name, each in plans.items()
    }
    if diverged := results.diverged:
        plan, separate = evaluated["plan"].test.scores, evaluated["separate"].test.scores
        if bool(plan.isnan().any() or separate.isnan().any(dim=0).all()):
            raise DivergenceError(f"{len(diverged)} trainings diverged. {diverged[0]}")
    networks = {name: results.networks(each) for name, each in first.items() if name != RANDOM}
    return _Results(
        evaluated, networks if keep else {}, _gates(first["plan"], problem, results, replicates)
    )


def _gates(
    plan: Plan, problem: Problem, results: PlanResults, replicates: Sequence[Replicate]
) -> tuple[Gates | None, ...]:
    """The gates of the plan's mixtures of experts; None for other networks and remote trainings."""
    if "mmoe" not in plan.sharing:
        return (None,) * len(plan.grouping.networks)
    return tuple(
        Gates.from_networks(problem, spec, networks, replicates)
        if spec.sharing == "mmoe" and networks
        else None
        for (_, spec), networks in zip(specs_of(plan), results.networks(plan), strict=True)
    )


def _evaluate(
    first: Plan, plans: Plans, problem: Problem, results: PlanResults, separate: Plans
) -> EvaluatedPlan:
    def gains(score: ScoreName, definitions: tuple[Score, ...] | None = None) -> Gains:
        return Gains(
            tasks=problem.names,
            scores=results.served(plans, score),
            baseline=results.served(separate, score),
            definitions=definitions,
        )

    n_blocks = _number_of_blocks(problem)
    cost = results.cost(first)
    return EvaluatedPlan(
        plan=first,
        test=replace(
            gains("test_loss"),
            score_blocks=results.blocks(plans, n_blocks),
            baseline_blocks=results.blocks(separate, n_blocks),
        ),
        evaluation=gains("evaluation_loss"),
        metrics=gains("test_metric", tuple(_metric_score(task) for task in problem.tasks)),
        parameters=cost.parameters,
        seconds=results.seconds(plans).mean().item(),
        multiply_adds=cost.multiply_adds,
        costs=results.costs_of(first),
    )


def _metric_score(task: Task) -> Score:
    """How metrics are compared: by differences."""
    return Score("maximize" if task.higher_is_better else "minimize", relative=False)


def _number_of_blocks(problem: Problem) -> int:
    """The number of blocks of test rows, from which the error over other test rows is estimated.

    Blocks are long if rows close in time resemble each other, and fewer if there are many tasks, to
    save memory and disk space.
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
