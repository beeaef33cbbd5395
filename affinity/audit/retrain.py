"""Retraining: train the plan and its baselines on the same replicates."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from affinity.errors import DivergenceError, InputError
from affinity.estimates import AffinityMatrix, LabelOverlap
from affinity.problems import NetworkTrainer, Problem, TableTrunk
from affinity.problems.network_trainer import NetworkResult
from affinity.recommendation import Plan
from affinity.statistics import NegativeTransferTest
from affinity.tasks import Score
from affinity.training import Result, TrainedNetwork
from affinity.training.reference import constant_loss

from .audit import Audit
from .baselines import BASELINES, RANDOM, make_candidates
from .context import AuditContext
from .gates import Gates
from .limitations import find_limitations
from .measure_sharing import choose_strengths
from .reference import train_reference
from .task_description import TaskDescription
from .trainings import Trainings, check_plans, jobs_of, run_jobs

ALWAYS_TRAINED = 2  # replicates, whatever the time limit: intervals need two


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
    seconds: float | None = None,
    matrix: AffinityMatrix | None = None,
    context: AuditContext | None = None,
    keep: bool = False,
    store: str | Path | None = None,
    backend: str | None = None,
    reference_seconds: float = 0.0,
) -> Audit:
    """Train the plan and its baselines, and evaluate them on test rows.

    The baselines are separate networks, one network for all tasks, and optional ones. Every network
    is trained once per replicate. All networks of a replicate use the same rows, order of rows and
    random seed: differences are paired. A network that several candidates need is trained once.
    Networks have equal size: those without hard sharing are narrowed until they have as many
    parameters as with hard sharing (see `NetworkTrainer`).

    With ``until="decided"`` the number of replicates is doubled until no verdict on the plan is
    undecided (per task and overall; tasks with too few test labels do not count), `max_replicates`
    is reached, or `minutes` are over. Verdicts are corrected for these interim looks
    (`affinity.statistics.spending`).

    Args:
        plan: Which networks to train.
        replicates: Number of replicates (new data split and seed each); intervals need two.
        baselines: Optional baselines: a random grouping, separate networks and all-in-one at the
            plan's number of parameters (`baselines.make_candidates`).
        until: ``"decided"`` to add replicates until the verdicts are decided; None for a fixed
            number.
        max_replicates: Maximum number of replicates with ``until="decided"``.
        minutes: Time limit with ``until="decided"``; the first `replicates` are always trained.
        seconds: Time limit for a fixed number of replicates: no more are trained than fit, by the
            time that those before took. Two are always trained.
        matrix: The affinities that the plan was made from, to be compared with measured gains.
        keep: Whether the audit keeps the trained networks and their predictions.
        store: A folder for finished trainings: the same call runs only the missing ones.
        backend: Train networks separately on ``loky``, ``ray`` or ``dask``; chosen if None.
        reference_seconds: Time limit of the reference, gradient boosting per task on the same
            rows (`audit.reference.train_reference`), besides the time that the trainings leave of
            `seconds`; 0: no reference.

    Raises:
        InputError: If the plan does not serve the problem's tasks, uses a way to share that the
            trunk does not support, a baseline is unknown, or `replicates` is below 1.
        DivergenceError: If a loss became NaN or infinite in a training of the plan, or of every
            separate network. If other trainings diverge, their gains are undefined and the audit's
            limitations list them.

    Example:
        >>> from affinity import TrainingSettings, load_digits
        >>> problem = load_digits(width=8).with_settings(TrainingSettings(epochs=2))
        >>> audit = retrain(Plan.all_in_one(problem.names), problem, replicates=2, baselines=())
        >>> audit.gains.scores.shape  # replicate task
        torch.Size([2, 8])
        >>> audit.overall.low < audit.overall.gain < audit.overall.high
        True
    """
    check_plans(problem.names, replicates, plan)
    if until is None and minutes is not None:
        raise InputError(
            "Expected until='decided' where minutes are given to get there.",
            "minutes-without-until",
        )
    plan = choose_strengths(plan, problem, problem.replicate_seeds(replicates, seed))
    candidates, left_out = make_candidates(plan, problem, baselines)
    trainer = NetworkTrainer(problem, store, backend, keep, keep_mixtures="mmoe" in plan.sharing)
    most = max(replicates, max_replicates) if until else replicates
    start = time.monotonic()
    goal, looks = (1 if seconds is not None and not until else replicates), ()
    judged = [each.task for each in problem.label_counts() if not each.is_too_few]
    results: list[Result] = []
    while True:
        seeds = problem.replicate_seeds(goal, seed)
        trained = {result.job.seed for result in results}
        new_seeds = [each for each in seeds if each not in trained]
        results += run_jobs(trainer, jobs_of(candidates, new_seeds))
        trainings = Trainings.from_results(trainer.tasks, candidates, seeds, results)
        _check_divergence(trainings)
        done = goal
        spent = time.monotonic() - start
        if seconds is not None and not until:
            goal = _fitting(done, most, spent, seconds)
        else:
            goal = _goal(done, most, spent, minutes)
        looks = (*looks, (done, done / most if goal > done else 1.0))
        own_test = replace(test or NegativeTransferTest(), looks=looks if until else ())
        metrics = [  # compared by differences
            Score("maximize" if task.higher_is_better else "minimize", relative=False)
            for task in problem.tasks
        ]
        evaluated = {
            name: trainings.evaluate(name, candidate.plan_of(seeds[0]), metrics=metrics)
            for name, candidate in candidates.items()
        }
        if goal == done:
            break
        if until and (not judged or own_test.is_decided(evaluated["plan"].test.of(judged))):
            break
    return Audit(
        problem=problem.name,
        tasks=_describe_tasks(problem),
        plan=plan,
        candidates=evaluated,
        matrix=matrix,
        test=own_test,
        context=replace(
            context or AuditContext(),
            source=problem.source,
            notes=tuple(problem.notes),
            limits=(*left_out, *find_limitations(problem, evaluated)),
            width=problem.width,
            settings=_describe_settings(problem),
            rows={"development": len(problem.development), "test": len(problem.test)},
            labels=problem.label_counts(problem.replicate_seeds(1, seed)[0]),
            intervals=None if problem.test.groups is None else "groups of test rows and replicates",
            overlap=LabelOverlap.of(problem),
        ),
        networks={name: _networks(trainings, name) for name in candidates if name != RANDOM}
        if keep
        else {},
        gates=_gates(trainer, trainings),
        reference=train_reference(
            problem, seeds, trainer.n_blocks, reference_seconds + max(0.0, (seconds or 0.0) - spent)
        )
        if reference_seconds > 0
        else None,
    )


def _goal(done: int, most: int, spent: float, minutes: float | None) -> int:
    """The next number of replicates: twice as many, or as many as the time limit allows."""
    goal = min(2 * done, most)
    if minutes is None:
        return goal
    fitting = int((60 * minutes - spent) * done / max(spent, 1e-9))
    return done if fitting < max(1, (goal - done) // 2) else min(goal, done + fitting)


def _fitting(done: int, most: int, spent: float, seconds: float) -> int:
    """The number of replicates that end in time, and those that are always trained."""
    fitting = int((seconds - spent) * done / max(spent, 1e-9))
    return max(done, min(most, max(done + fitting, ALWAYS_TRAINED)))


def _check_divergence(trainings: Trainings) -> None:
    """Raise an error if the plan, or all separate networks, cannot be evaluated."""
    diverged = [result for result in trainings.failures if result.code == "diverged"]
    if not diverged:
        return
    plan, separate = (trainings.table(name, "test").isnan() for name in ("plan", "separate"))
    if bool(plan.any() or separate.any(dim=0).all()):
        raise DivergenceError(f"{len(diverged)} trainings diverged. {diverged[0].error}")


def _networks(trainings: Trainings, candidate: str) -> tuple[tuple[TrainedNetwork, ...], ...]:
    """For each network of a candidate its trained network of each replicate."""
    return tuple(
        tuple(
            replace(result.network, replicate=replicate)
            for replicate, (_, result) in enumerate(results)
            if isinstance(result, NetworkResult) and result.network is not None
        )
        for results in zip(*trainings.candidates[candidate], strict=True)
    )


def _gates(trainer: NetworkTrainer, trainings: Trainings) -> tuple[Gates | None, ...]:
    """The gates of the plan's mixtures of experts; None for other networks."""
    return tuple(
        Gates.from_results(trainer, [result for _, result in results])
        if results[0][1].job.sharing == "mmoe"
        else None
        for results in zip(*trainings.candidates["plan"], strict=True)
    )


def _describe_tasks(problem: Problem) -> tuple[TaskDescription, ...]:
    """The tasks, with the test losses of constant predictions."""
    return tuple(
        TaskDescription.from_task(
            task,
            None
            if task.judge_by == "metric" or bool(problem.test.targets[:, column].isnan().all())
            else constant_loss(task, problem.development, problem.test, column),
        )
        for column, task in enumerate(problem.tasks)
    )


def _describe_settings(problem: Problem) -> dict[str, bool | int | float | str]:
    """Trunk and training settings as names and numbers."""
    trunk, settings = problem.trunk, problem.settings.to_dict()
    if isinstance(trunk, TableTrunk):
        return {"trunk": trunk.kind, "depth": trunk.depth, **settings}
    return settings
