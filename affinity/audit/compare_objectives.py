"""Comparing objectives: one plan trained with each way to combine the losses of its tasks."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from affinity.errors import InputError
from affinity.problems import NetworkTrainer, Problem
from affinity.recommendation import Plan
from affinity.recommendation.measured_sharing import standard_error
from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.storage import write_json
from affinity.tasks import loss_on_labelled
from affinity.training import OBJECTIVES, Job, Objective, Sum, Weighted
from affinity.training.rows import columns_of

from .causes.optimization import by_loss_scale
from .context import AuditContext
from .measure_sharing import choose_strengths
from .summary import (
    SCHEMA_VERSION,
    MeanSummary,
    VerdictSummary,
    finite,
    summarize_gain,
    summarize_verdict,
)
from .trainings import CandidatePlan, Trainings, check_plans, jobs_of, run_jobs

SIMPLEST = "sum"
_TIMED_STEPS, _FIRST_STEPS = 15, 3


@dataclass(frozen=True, eq=False)
class ObjectiveScores:
    """A plan trained with one objective."""

    name: str
    objective: str
    test: Gains  # compared with separate networks, on test rows
    evaluation: Gains  # compared with separate networks, on selection rows
    seconds_per_step: float  # of all networks with several tasks, the shortest of several
    diverged: int = 0  # replicates in which a training diverged; gains are then undefined


@dataclass(frozen=True)
class ObjectiveSummary:
    """One objective, as in `objectives.json`; undefined values are null.

    Args:
        name: The objective's name.
        objective: The objective with its settings.
        overall: Verdict on the mean gain over separate networks, on test rows.
        tasks: The same by task.
        evaluation_gain: Mean gain over separate networks, on selection rows.
        over_sum: Mean gain over the sum of the losses, on test rows.
        milliseconds_per_step: Time of a training step, the shortest of several.
        times_sum: This time as a multiple of that of the sum.
        diverged: The number of replicates in which a training diverged.
    """

    name: str
    objective: str
    overall: VerdictSummary
    tasks: Mapping[str, VerdictSummary]
    evaluation_gain: MeanSummary
    over_sum: MeanSummary
    milliseconds_per_step: float | None
    times_sum: float | None
    diverged: int


@dataclass(frozen=True)
class ObjectivesSummary:
    """A comparison of objectives, as in `objectives.json`.

    Args:
        schema_version: Version of this format.
        problem: The problem's name.
        n_replicates: Number of replicates.
        networks: The tasks of each network of the plan.
        advice: The objective to use.
        objectives: Every objective, in the order in which they were given.
        skipped: Objectives that were not trained, with the reason.
        context: How the comparison was made.
    """

    schema_version: int
    problem: str
    n_replicates: int
    networks: tuple[tuple[str, ...], ...]
    advice: str
    objectives: tuple[ObjectiveSummary, ...]
    skipped: Mapping[str, str]
    context: AuditContext


@dataclass(frozen=True, eq=False)
class ObjectiveComparison:
    """The gains of a plan over separate networks with each objective, on the same replicates.

    Args:
        scores: One entry per objective; the sum of the losses is always among them.
        skipped: Objectives that were not trained, with the reason.
        test: The statistical test behind the verdicts; not adjusted for the number of objectives.
    """

    problem: str
    plan: Plan
    scores: tuple[ObjectiveScores, ...]
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    test: NegativeTransferTest = field(default_factory=NegativeTransferTest)
    context: AuditContext = field(default_factory=AuditContext)

    @property
    def n_replicates(self) -> int:
        """The number of replicates."""
        return self._sum.test.n_replicates

    @property
    def _sum(self) -> ObjectiveScores:
        return next(each for each in self.scores if each.name == SIMPLEST)

    @cached_property
    def overall(self) -> dict[str, Verdict]:
        """The verdict on each objective's mean gain over separate networks, on test rows."""
        return {each.name: self.test.overall(each.test) for each in self.scores}

    def over_sum(self, name: str, rows: str = "test") -> Gains:
        """Gains of an objective over the sum of the losses, on "test" or "evaluation" rows."""
        (scores,) = (each for each in self.scores if each.name == name)
        gains, simplest = (
            each.test if rows == "test" else each.evaluation for each in (scores, self._sum)
        )
        return replace(gains, baseline=simplest.scores, baseline_blocks=simplest.score_blocks)

    @property
    def advice(self) -> str:
        """The objective to use, chosen on selection rows.

        The sum of the losses, the simplest, unless the objective with the largest mean gain over it
        gains more than the tolerance and more than its standard error.
        """
        gains = {
            each.name: self.over_sum(each.name, "evaluation").overall() for each in self.scores
        }
        known = {name: values for name, values in gains.items() if np.isfinite(values).all()}
        best = max(known, key=lambda name: float(known[name].mean()), default=SIMPLEST)
        needed = max(standard_error(known[best]), self.test.tolerance) if known else math.inf
        return best if known and float(known[best].mean()) > needed else SIMPLEST

    def frame(self) -> pd.DataFrame:
        """One row per objective: mean gain over separate networks and over the sum, and cost."""
        return pd.DataFrame(
            [
                {
                    "objective": each.name,
                    "gain": each.overall.gain,
                    "low": each.overall.low,
                    "high": each.overall.high,
                    "verdict": each.overall.verdict,
                    "over_sum": each.over_sum.mean,
                    "over_sum_low": each.over_sum.low,
                    "over_sum_high": each.over_sum.high,
                    "selection_gain": each.evaluation_gain.mean,
                    "milliseconds_per_step": each.milliseconds_per_step,
                    "times_sum": each.times_sum,
                    "diverged": each.diverged,
                    "advised": each.name == self.advice,
                }
                for each in self.summary().objectives
            ]
        )

    def summary(self) -> ObjectivesSummary:
        """The content of `objectives.json`."""
        usual = self._sum.seconds_per_step
        return ObjectivesSummary(
            schema_version=SCHEMA_VERSION,
            problem=self.problem,
            n_replicates=self.n_replicates,
            networks=tuple(
                tuple(sorted(network.trained)) for network in self.plan.grouping.networks
            ),
            advice=self.advice,
            objectives=tuple(
                ObjectiveSummary(
                    name=each.name,
                    objective=each.objective,
                    overall=summarize_verdict(self.overall[each.name]),
                    tasks={
                        verdict.task: summarize_verdict(verdict) for verdict in self.test(each.test)
                    },
                    evaluation_gain=summarize_gain(each.evaluation),
                    over_sum=summarize_gain(self.over_sum(each.name)),
                    milliseconds_per_step=finite(1000 * each.seconds_per_step),
                    times_sum=finite(each.seconds_per_step / usual),
                    diverged=each.diverged,
                )
                for each in self.scores
            ),
            skipped=self.skipped,
            context=self.context,
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """The summary as JSON; also written to `path`, if one is given."""
        return write_json(self.summary(), path)


def compare_objectives(
    problem: Problem,
    plan: Plan | None = None,
    objectives: Mapping[str, Objective] | None = None,
    replicates: int = 5,
    *,
    seed: int = 1,
    test: NegativeTransferTest | None = None,
    store: str | Path | None = None,
    backend: str | None = None,
    context: AuditContext | None = None,
) -> ObjectiveComparison:
    """Train a plan with every objective, and compare the gains and the cost per step.

    All trainings of a replicate use the same rows, order of rows and initial parameters. Networks
    of one task have no losses to combine: they are the same for every objective. All objectives but
    the sum and fixed weights train networks one by one, which takes longer.

    Args:
        plan: Which networks to train; one network for all tasks if None.
        objectives: By name; the sum is always added. If None, all of `OBJECTIVES` and "weighted",
            with weights of 1 / loss scale.
        replicates, store, backend: As for `retrain`.

    Raises:
        InputError: If the plan does not serve the problem's tasks, no two of its tasks share a
            network, or `replicates` is below 1.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity.training import TrainingSettings, Weighted
        >>> problem = load_digits(width=8).with_settings(TrainingSettings(epochs=1))
        >>> weighted = {"weighted": Weighted((("ink", 2.0),))}
        >>> found = compare_objectives(problem, objectives=weighted, replicates=2)
        >>> found.frame()["objective"].tolist()
        ['sum', 'weighted']
    """
    plan = plan or Plan.all_in_one(problem.names)
    check_plans(problem.names, replicates, plan)
    if all(network.is_alone for network in plan.grouping.networks):
        raise InputError(
            "Expected a plan in which tasks share a network, but each has a network of its own: "
            "there are no losses to combine. Compare with one network for all tasks "
            "(--plan all-in-one).",
            "nothing-shared",
        )
    if objectives is None:
        weights = tuple(by_loss_scale(problem).items())
        objectives = {**OBJECTIVES, "weighted": Weighted(weights)}
    objectives = {SIMPLEST: Sum(), **objectives}
    seeds = problem.replicate_seeds(replicates, seed)
    plan = choose_strengths(plan, problem, seeds)
    usual = NetworkTrainer(problem, store, backend).with_objective(objectives[SIMPLEST])
    candidates = {
        "plan": CandidatePlan.fixed(plan, width=problem.width),
        "separate": CandidatePlan.fixed(Plan.separate(problem.names), width=problem.width),
    }
    every_job = jobs_of(candidates, seeds)
    joint_jobs = [job for job in every_job if len(job.tasks) > 1]
    alone = run_jobs(usual, [job for job in every_job if len(job.tasks) == 1])
    scores: list[ObjectiveScores] = []
    skipped: dict[str, str] = {}
    for name, objective in objectives.items():
        trainer = usual.with_objective(objective)
        try:
            objective.check_tasks(problem.names)
            objective.start(problem.names, torch.zeros(()))
        except InputError as error:
            if error.code != "missing-library":
                raise
            skipped[name] = str(error)
            continue
        results = [*alone, *run_jobs(trainer, joint_jobs)]
        trainings = Trainings.from_results(usual.tasks, candidates, seeds, results)
        evaluated = trainings.evaluate("plan", plan)
        failed = {result.job.seed for result in trainings.failures if len(result.job.tasks) > 1}
        first = [job for job in joint_jobs if job.seed == seeds[0]]
        seconds = sum(_seconds_per_step(trainer, job) for job in first)
        scores.append(
            ObjectiveScores(
                name, repr(objective), evaluated.test, evaluated.evaluation, seconds, len(failed)
            )
        )
    return ObjectiveComparison(
        problem=problem.name,
        plan=plan,
        scores=tuple(scores),
        skipped=skipped,
        test=test or NegativeTransferTest(),
        context=replace(context or AuditContext(), seeds=tuple(seeds)),
    )


def _seconds_per_step(trainer: NetworkTrainer, job: Job) -> float:
    """The shortest of several training steps of a job's network, in this process."""
    problem, network = trainer.problem_of(job), trainer.make_network(job)
    settings = problem.settings
    rows = problem.replicate(job.seed).training
    rows = rows.take(torch.arange(min(settings.batch_size, len(rows))))
    columns = columns_of(network.names, problem.tasks)
    targets, tasks = rows.targets[:, columns], [problem.tasks[column] for column in columns]
    is_present = ~targets.isnan().all(dim=0)
    balance = settings.objective.start(network.names, next(network.parameters()).detach())
    parameters = [*network.parameters(), *balance.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, fused=True)
    network.train()
    seconds: list[float] = []
    with torch.random.fork_rng():
        for _ in range(_FIRST_STEPS + _TIMED_STEPS):
            start = time.perf_counter()
            predictions = network(rows.inputs)
            losses = [
                loss_on_labelled(task.loss, predictions[task.name], target, rows.weights)
                for task, target in zip(tasks, targets.T, strict=True)
            ]
            optimizer.zero_grad()
            balance.backward(losses, is_present, losses[0].new_zeros(()))
            network.before_step()
            optimizer.step()
            network.after_step(settings.learning_rate)
            seconds.append(time.perf_counter() - start)
    return min(seconds[_FIRST_STEPS:])
