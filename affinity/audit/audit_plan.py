"""Audits with any trainer: list the training jobs of an audit, and evaluate their results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan, sqrt

import numpy as np
import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.grouping import Network
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest
from affinity.tasks import Score, check_names
from affinity.training import Job, Result, Trainer
from affinity.training.protocol import Setting, check_accepted

from .audit import Audit
from .baselines import (
    RANDOM,
    SAME_SIZE,
    PlanOfSeed,
    check_baselines,
    permute_tasks,
    plan_of_every_seed,
)
from .context import AuditContext
from .evaluated_plan import EvaluatedPlan
from .limitations import Limitation
from .task_description import SCORE, TaskDescription

FEWEST_COMPLETE = 2
"""Replicates with missing scores are excluded if at least this many complete ones remain."""

_JobKey = tuple[frozenset[str], int, str, tuple[tuple[str, str], ...]]


def audit_plan(
    plan: Plan,
    trainer: Trainer,
    tasks: Mapping[str, Score | str],
    replicates: int = 5,
    *,
    seed: int = 1,
    baselines: Sequence[str] | None = None,
    retries: int = 1,
    name: str = "trainings",
    test: NegativeTransferTest | None = None,
    matrix: AffinityMatrix | None = None,
    context: AuditContext | None = None,
) -> Audit:
    """Train a plan and its baselines with any trainer, and evaluate the plan.

    The baselines are separate networks, one network for all tasks, and optional ones. Each group of
    tasks is trained once per replicate. Decisions (`Audit.advice`) use validation scores; verdicts
    use test scores. The scores of a failed training are missing data.

    Args:
        plan: Which tasks are trained together.
        trainer: Runs the trainings.
        tasks: The score of each task: "maximize", "minimize" or a `Score`.
        replicates: Number of replicates; intervals need two.
        seed: Random seed of the first replicate; the next replicates use the next integers. Do not
            use seeds of trainings from which the plan was chosen.
        baselines: Optional baselines: a random grouping, and separate networks and all-in-one at
            about the same number of parameters, for trainers that accept a width; all of these if
            None.
        retries: Maximum number of times that a failed training is repeated, with the same seed.
        name: Title of the audit in the report.
        test: The statistical test behind the verdicts.
        matrix: The affinities that the plan was made from; they are compared with measured gains.
        context: How the plan was made, for the report.

    Raises:
        InputError: If the plan does not serve the tasks, `replicates` is below 1, a baseline is
            unknown, the plan needs settings that the trainer does not accept, or all trainings of
            the plan or of the separate networks fail.

    Example:
        >>> from affinity.training import FunctionTrainer
        >>> def train(tasks, seed):  # the larger the group, the better
        ...     return {task: 0.7 + 0.05 * len(tasks) + 0.001 * seed for task in tasks}
        >>> audit = audit_plan(
        ...     Plan.all_in_one(("click", "like")),
        ...     FunctionTrainer(train),
        ...     {"click": "maximize", "like": "maximize"},
        ... )
        >>> audit.overall.verdict, round(audit.overall.gain, 6)
        ('beneficial', 0.05)
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.", "no-replicates")
    seeds = range(seed, seed + replicates)
    jobs = audit_jobs(plan, tuple(tasks), seeds, baselines, trainer.accepts)
    check_accepted(trainer, jobs)
    results = {result.job.id: result for result in trainer(jobs)}
    for _ in range(retries):
        if failed := [job for job in jobs if job.id not in results or results[job.id].is_failed]:
            results |= {result.job.id: result for result in trainer(failed)}
    return audit_from_results(
        plan,
        tasks,
        seeds,
        results.values(),
        baselines,
        trainer.accepts,
        name=name,
        test=test,
        matrix=matrix,
        context=replace(context or AuditContext(), seed=seed),
    )


def audit_jobs(
    plan: Plan,
    tasks: Sequence[str],
    seeds: Sequence[int],
    baselines: Sequence[str] | None = None,
    accepts: frozenset[str] = frozenset(),
) -> list[Job]:
    """The training jobs of an audit: one per seed and per group of tasks that any candidate needs.

    Args:
        plan: The plan to evaluate.
        tasks: All tasks.
        seeds: One per replicate.
        baselines: As in `audit_plan`.
        accepts: The settings that the trainer accepts.

    Raises:
        InputError: If the plan does not serve the tasks, or a baseline is unknown.

    Example:
        >>> jobs = audit_jobs(Plan.all_in_one(("a", "b")), ("a", "b"), seeds=[7])
        >>> [(job.names, job.seed, job.purpose) for job in jobs]
        [(('a', 'b'), 7, 'judge'), (('a',), 7, 'judge'), (('b',), 7, 'judge')]
    """
    candidates, _ = _candidates(plan, tasks, baselines, accepts)
    jobs: dict[_JobKey, Job] = {}
    for seed in seeds:
        for candidate in candidates.values():
            for _, job in candidate.jobs(seed):
                jobs.setdefault(_key(job), replace(job, id=f"audit-{len(jobs) + 1}"))
    return list(jobs.values())


def audit_from_results(
    plan: Plan,
    tasks: Mapping[str, Score | str],
    seeds: Sequence[int],
    results: Iterable[Result],
    baselines: Sequence[str] | None = None,
    accepts: frozenset[str] = frozenset(),
    *,
    name: str = "trainings",
    test: NegativeTransferTest | None = None,
    matrix: AffinityMatrix | None = None,
    context: AuditContext | None = None,
) -> Audit:
    """The audit of the results of `audit_jobs`, called with the same arguments.

    Args:
        plan: The plan to evaluate.
        tasks: The score of each task.
        seeds: One per replicate.
        results: Results of the jobs, in any order; a job without a result counts as failed.
        baselines: As in `audit_plan`.
        accepts: The settings that the trainer accepts.
        name: Title of the audit in the report.
        test: The statistical test behind the verdicts.
        matrix: The affinities that the plan was made from.
        context: How the plan was made.

    Raises:
        InputError: If all trainings of the plan or of separate networks failed.
    """
    scores = {task: Score.of(score) for task, score in tasks.items()}
    candidates, left_out = _candidates(plan, tuple(scores), baselines, accepts)
    by_key = {_key(result.job): result for result in results}
    trainings = _Trainings(
        tuple(scores),
        {
            name: [
                [
                    (network, by_key.get(_key(job), _missing(job)))
                    for network, job in each.jobs(seed)
                ]
                for seed in seeds
            ]
            for name, each in candidates.items()
        },
    )
    for candidate in ("plan", "separate"):
        if not np.isfinite(trainings.scores(candidate, trainings.judged)).any():
            raise InputError(
                f"Expected results of the trainings of {candidate!r}, but all of them failed: "
                f"{trainings.failures[0].error if trainings.failures else 'no scores returned'}",
                "all-trainings-failed",
            )
    complete = trainings.complete
    kept = complete if len(complete) >= FEWEST_COMPLETE else range(len(seeds))
    has_rows = trainings.n_blocks is not None
    known = context or AuditContext()
    return Audit(
        problem=name,
        tasks=tuple(
            TaskDescription(task, SCORE, SCORE, score.direction == "maximize")
            for task, score in scores.items()
        ),
        plan=plan,
        candidates={
            candidate: trainings.evaluate(
                candidate, candidates[candidate].plan_of(seeds[kept[0]]), scores, kept
            )
            for candidate in candidates
        },
        matrix=matrix,
        test=test or NegativeTransferTest(),
        context=replace(
            known,
            seeds=tuple(seeds[place] for place in kept),
            intervals="test rows and replicates" if has_rows else "replicates",
            limits=(
                *known.limits,
                *left_out,
                *trainings.limitations([seeds[place] for place in kept]),
            ),
        ),
    )


@dataclass(frozen=True)
class _CandidatePlan:
    """One way to train all tasks: its plan for each seed, and its training settings."""

    plan_of: PlanOfSeed
    settings: Mapping[str, Setting]

    def jobs(self, seed: int) -> list[tuple[Network, Job]]:
        """Each network with its training job for one replicate."""
        plan = self.plan_of(seed)
        return [
            (
                network,
                Job(
                    id="audit",
                    tasks=network.trained,
                    seed=seed,
                    purpose="judge",
                    sharing="hard" if network.is_alone or sharing == "separate" else sharing,
                    settings=self.settings,
                ),
            )
            for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
        ]


def _candidates(
    plan: Plan,
    tasks: Sequence[str],
    baselines: Sequence[str] | None,
    accepts: frozenset[str],
) -> tuple[dict[str, _CandidatePlan], list[Limitation]]:
    """Candidates by name, and a note for each baseline that cannot be trained."""
    names = check_names(tasks)
    if plan.grouping.tasks != frozenset(names):
        raise InputError(
            f"Expected a plan for the tasks {list(names)}, but it serves "
            f"{sorted(plan.grouping.tasks)}.",
            "different-tasks",
        )
    can_widen = "width" in accepts
    if baselines is None:
        baselines = (RANDOM, *SAME_SIZE.values()) if can_widen else (RANDOM,)
    check_baselines(baselines)
    fixed = {
        "plan": plan,
        "separate": Plan.separate(names),
        "all-in-one": Plan.all_in_one(names),
    }
    candidates = {
        name: _CandidatePlan(plan_of_every_seed(each), {}) for name, each in fixed.items()
    }
    if RANDOM in baselines:
        candidates[RANDOM] = _CandidatePlan(lambda seed: permute_tasks(plan, seed), {})
    left_out: list[Limitation] = []
    for name, title in SAME_SIZE.items():
        if title in baselines and can_widen:
            networks = len(plan.grouping.networks) / len(fixed[name].grouping.networks)
            width = round(sqrt(networks), 4)  # parameters grow with the square of the width
            settings: dict[str, Setting] = {} if width == 1 else {"width": width}
            candidates[title] = _CandidatePlan(plan_of_every_seed(fixed[name]), settings)
        elif title in baselines:
            message = (
                f"The baseline {title!r} was left out: the trainer does not accept the setting "
                "'width'."
            )
            left_out.append(Limitation("baseline-left-out", message, candidate=title))
    return candidates, left_out


@dataclass(frozen=True, eq=False)
class _Trainings:
    """The results of every candidate, by replicate and network."""

    tasks: tuple[str, ...]
    candidates: Mapping[str, Sequence[Sequence[tuple[Network, Result]]]]

    @cached_property
    def results(self) -> list[Result]:
        """Each result once."""
        unique = {
            _key(result.job): result
            for replicates in self.candidates.values()
            for networks in replicates
            for _, result in networks
        }
        return list(unique.values())

    @property
    def failures(self) -> list[Result]:
        """Trainings without scores."""
        return [result for result in self.results if result.is_failed]

    @cached_property
    def judged(self) -> str:
        """The scores for the verdicts: test scores, if all trainings returned them."""
        is_everywhere = all(result.test for result in self.results if not result.is_failed)
        return "test" if is_everywhere else "validation"

    @cached_property
    def decided(self) -> str:
        """The scores for decisions: validation scores, if all trainings returned them."""
        is_everywhere = all(result.validation for result in self.results if not result.is_failed)
        return "validation" if is_everywhere else "test"

    @cached_property
    def n_blocks(self) -> dict[str, int] | None:
        """Number of test-row blocks per task; None if not all trainings returned them."""
        counts: dict[str, set[int]] = {task: set() for task in self.tasks}
        for result in self.results:
            if result.is_failed:
                continue
            if result.rows is None:
                return None
            for task, scores in result.rows.items():
                counts[task].add(len(scores))
        if any(len(numbers) != 1 for numbers in counts.values()):
            return None
        return {task: numbers.pop() for task, numbers in counts.items()}

    @property
    def complete(self) -> list[int]:
        """The replicates in which no candidate lacks a score that it has in other replicates."""
        is_missing = np.zeros(len(next(iter(self.candidates.values()))), dtype=bool)
        for name in self.candidates:
            unknown = np.isnan(self.scores(name, self.judged))
            is_missing |= (unknown & ~unknown.all(axis=0)).any(axis=1)
        return np.flatnonzero(~is_missing).tolist()

    def scores(self, candidate: str, part: str) -> np.ndarray:
        """Scores ``[replicate task]`` of each task in the network that serves it."""
        replicates = self.candidates[candidate]
        scores = np.full((len(replicates), len(self.tasks)), nan)
        for row, networks in enumerate(replicates):
            for network, result in networks:
                known = result.test if part == "test" else result.validation
                for task in network.served & (known or {}).keys():
                    scores[row, self.tasks.index(task)] = (known or {})[task]
        return scores

    def blocks(self, candidate: str) -> Tensor | None:
        """Test scores ``[replicate task block]``; NaN beyond the blocks of a task."""
        if self.n_blocks is None:
            return None
        replicates = self.candidates[candidate]
        shape = (len(replicates), len(self.tasks), max(self.n_blocks.values()))
        blocks = torch.full(shape, nan, dtype=torch.double)
        for row, networks in enumerate(replicates):
            for network, result in networks:
                for task in network.served & (result.rows or {}).keys():
                    scores = torch.tensor((result.rows or {})[task], dtype=torch.double)
                    blocks[row, self.tasks.index(task), : len(scores)] = scores
        return blocks

    def evaluate(
        self, candidate: str, plan: Plan, scores: Mapping[str, Score], kept: Sequence[int]
    ) -> EvaluatedPlan:
        """Gains of a candidate over separate networks, and its cost."""
        rows = list(kept)

        def gains(part: str) -> Gains:
            own, separate = (
                torch.from_numpy(self.scores(name, part)[rows]) for name in (candidate, "separate")
            )
            return Gains(self.tasks, own, separate, tuple(scores.values()))

        own_blocks, blocks = self.blocks(candidate), self.blocks("separate")
        judged = gains(self.judged)
        differences = tuple(replace(score, relative=False) for score in scores.values())
        first = self.candidates[candidate][rows[0]]
        parameters = [result.parameters for _, result in first]
        seconds = [
            sum(nan if result.seconds is None else result.seconds for _, result in networks)
            for networks in (self.candidates[candidate][row] for row in rows)
        ]
        return EvaluatedPlan(
            plan=plan,
            test=replace(
                judged,
                score_blocks=None if own_blocks is None else own_blocks[rows],
                baseline_blocks=None if blocks is None else blocks[rows],
            ),
            evaluation=gains(self.decided),
            metrics=replace(judged, definitions=differences),
            parameters=sum(known for known in parameters if known is not None)
            if None not in parameters
            else 0,
            seconds=float(np.mean(seconds)),
        )

    def limitations(self, seeds: Sequence[int]) -> list[Limitation]:
        """Failed trainings, undefined scores, and limits that follow from the kind of scores."""
        limits: list[Limitation] = []
        by_group: dict[tuple[str, ...], list[Result]] = {}
        for result in self.failures:
            by_group.setdefault(result.job.names, []).append(result)
        for names, failures in by_group.items():
            numbers = [result.job.seed for result in failures]
            without = [number for number in numbers if number not in seeds]
            effect = (
                f"Replicates with the seeds {without} were left out for every candidate."
                if without
                else "Gains that need it are missing."
            )
            message = (
                f"The training of {', '.join(map(repr, names))} failed with "
                f"{'the seeds' if len(numbers) > 1 else 'seed'} "
                f"{', '.join(map(str, numbers))}: {failures[-1].error} {effect}"
            )
            limits.append(Limitation("failed-training", message))
        for column, task in enumerate(self.tasks):
            without = [
                name
                for name in ("plan", "separate")
                if np.isnan(self.scores(name, self.judged)[:, column]).all()
            ]
            if without and not self.failures:
                message = (
                    f"Task {task!r} has no {self.judged} score under {' and '.join(without)}: its "
                    "gain is missing. Trainings returned None for it."
                )
                limits.append(Limitation("undefined-score", message, task))
        if self.judged == self.decided:
            message = (
                f"The trainings gave only {self.judged} scores, one per task: decision and "
                "verdict use the same rows. Gains of a grouping that was chosen on such scores "
                "are too high. To separate them, return affinity.Scores(validation=..., test=...)."
            )
            limits.append(Limitation("shared-rows", message))
        has_rows = [result.rows is not None for result in self.results if not result.is_failed]
        if any(has_rows) and self.n_blocks is None:
            message = (
                "Scores of test rows were ignored: their number differs by training. Intervals "
                "show only how gains vary over replicates."
            )
            limits.append(Limitation("row-scores-differ", message))
        return limits


def _missing(job: Job) -> Result:
    return Result.failed(job, "No result was returned.", "no-result")


def _key(job: Job) -> _JobKey:
    settings = tuple(sorted((name, repr(value)) for name, value in job.settings.items()))
    return job.tasks, job.seed, job.sharing, settings
