"""The trainings of an audit: the jobs of every candidate, and their results as tables of gains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import nan
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from affinity.errors import check_number, check_same
from affinity.grouping import Network
from affinity.recommendation import Plan
from affinity.sharing import Cost
from affinity.statistics import Gains
from affinity.tasks import Score
from affinity.training import Job, Result, Trainer
from affinity.training.protocol import Setting, check_accepted

from .evaluated_plan import EvaluatedPlan

FIRST_SEED = 1_000_000
"""The first seed of an audit with any trainer; trainings that decide use much smaller ones."""

Part = Literal["validation", "test"]
PlanOfSeed = Callable[[int], Plan]  # seed of a replicate to the plan that is trained on it
_Key = tuple[frozenset[str], int, str, tuple[tuple[str, str], ...]]


def check_plans(tasks: tuple[str, ...], replicates: int, *plans: Plan | None) -> None:
    """Raise an error if a plan is of other tasks, or `replicates` is below 1."""
    for plan in plans:
        if plan is not None:
            planned = sorted(plan.grouping.tasks)
            check_same("the tasks of the plan", planned, sorted(tasks), "different-tasks")
    check_number("replicates", replicates, "no-replicates", least=1)


@dataclass(frozen=True)
class CandidatePlan:
    """One way to train all tasks."""

    plan_of: PlanOfSeed
    settings: Mapping[str, Setting] = field(default_factory=dict[str, Setting])  # of its jobs
    width: int | None = None  # the trainer's usual width, of which a plan's own width is a multiple
    sharing: str | None = None  # how all networks of several tasks share, instead of as planned

    @classmethod
    def fixed(
        cls, plan: Plan, settings: Mapping[str, Setting] | None = None, width: int | None = None
    ) -> "CandidatePlan":
        """The same plan for every seed."""
        return cls(lambda _: plan, settings or {}, width)

    def jobs(self, seed: int) -> list[tuple[Network, Job]]:
        """Each network with its training job for one replicate.

        A network of one task is trained like hard sharing.
        """
        plan = self.plan_of(seed)
        settings = dict(self.settings)
        if plan.width is not None and self.width is not None:
            settings["width"] = settings.get("width", 1.0) * plan.width / self.width  # pyright: ignore[reportOperatorIssue]
        return [
            (
                network,
                Job(
                    id="audit",
                    tasks=network.trained,
                    seed=seed,
                    purpose="judge",
                    sharing="hard" if network.is_alone else self.sharing or sharing,
                    settings={**settings, "sharing_settings": own}
                    if own and not network.is_alone and self.sharing is None
                    else settings,
                ),
            )
            for network, sharing, own, _ in plan.parts
        ]


def jobs_of(candidates: Mapping[str, CandidatePlan], seeds: Iterable[int]) -> list[Job]:
    """The jobs that any candidate needs, each once."""
    jobs: dict[_Key, Job] = {}
    for seed in seeds:
        for candidate in candidates.values():
            for _, job in candidate.jobs(seed):
                jobs.setdefault(_key(job), replace(job, id=f"audit-{len(jobs) + 1}"))
    return list(jobs.values())


def run_jobs(trainer: Trainer, jobs: Sequence[Job], retries: int = 0) -> list[Result]:
    """A result of each job; those that fail are repeated up to `retries` times.

    A job of which the trainer returned no result has failed.
    """
    check_accepted(trainer, jobs)
    results = {result.job.id: result for result in trainer(jobs)}
    for _ in range(retries):
        if failed := [job for job in jobs if job.id not in results or results[job.id].is_failed]:
            results |= {result.job.id: result for result in trainer(failed)}
    return [results.get(job.id) or _missing(job) for job in jobs]


@dataclass(frozen=True, eq=False)
class Trainings:
    """The results of every candidate, by replicate and network."""

    scores: Mapping[str, Score]
    # for each and each replicate, its networks with their results
    candidates: Mapping[str, Sequence[Sequence[tuple[Network, Result]]]]

    @classmethod
    def from_results(
        cls,
        scores: Mapping[str, Score],
        candidates: Mapping[str, CandidatePlan],
        seeds: Sequence[int],
        results: Iterable[Result],
    ) -> "Trainings":
        """Results in any order; a job without a result counts as failed."""
        by_key = {_key(result.job): result for result in results}
        return cls(
            scores,
            {
                name: [
                    [
                        (network, by_key.get(_key(job)) or _missing(job))
                        for network, job in candidate.jobs(seed)
                    ]
                    for seed in seeds
                ]
                for name, candidate in candidates.items()
            },
        )

    @cached_property
    def tasks(self) -> dict[str, int]:
        """The column of each task."""
        return {task: column for column, task in enumerate(self.scores)}

    @cached_property
    def results(self) -> list[Result]:
        """Each result once."""
        unique = {
            id(result): result
            for replicates in self.candidates.values()
            for networks in replicates
            for _, result in networks
        }
        return list(unique.values())

    @property
    def failures(self) -> list[Result]:
        """Trainings without scores, each once."""
        return list({_key(each.job): each for each in self.results if each.is_failed}.values())

    @cached_property
    def judged(self) -> Part:
        """The scores for the verdicts: test scores, if all trainings returned them."""
        are_all = all(each.test is not None for each in self.results if not each.is_failed)
        return "test" if are_all else "validation"

    @cached_property
    def decided(self) -> Part:
        """The scores for decisions: validation scores, if all trainings returned them."""
        are_all = all(each.validation is not None for each in self.results if not each.is_failed)
        return "validation" if are_all else "test"

    @cached_property
    def n_blocks(self) -> dict[str, int] | None:
        """Number of test-row blocks per task; None if not all trainings returned them."""
        counts: dict[str, set[int]] = {task: set() for task in self.scores}
        for result in self.results:
            if result.is_failed:
                continue
            if result.rows is None:
                return None
            for task, scores in result.rows.items():
                counts[task].add(len(scores))
        if any(len(numbers) > 1 for numbers in counts.values()) or not any(counts.values()):
            return None
        return {task: max(numbers, default=0) for task, numbers in counts.items()}

    @property
    def complete(self) -> list[int]:
        """The replicates in which no candidate lacks a score that it has in other replicates."""
        is_missing = np.zeros(len(next(iter(self.candidates.values()))), dtype=bool)
        for name in self.candidates:
            unknown = self.table(name, self.judged).isnan().numpy()
            is_missing |= (unknown & ~unknown.all(axis=0)).any(axis=1)
        return np.flatnonzero(~is_missing).tolist()

    def table(
        self, candidate: str, part: Part | Callable[[Result], Mapping[str, float] | None]
    ) -> Tensor:
        """Scores ``[replicate task]`` of each task in the network that serves it."""
        replicates = self.candidates[candidate]
        values = torch.full((len(replicates), len(self.tasks)), nan, dtype=torch.double)
        for row, networks in enumerate(replicates):
            for network, result in networks:
                if callable(part):
                    known = part(result) or {}
                else:
                    known = (result.test if part == "test" else result.validation) or {}
                for task in network.served & known.keys():
                    values[row, self.tasks[task]] = known[task]
        return values

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
                    blocks[row, self.tasks[task], : len(scores)] = scores
        return blocks

    def evaluate(
        self,
        candidate: str,
        plan: Plan,
        rows: Sequence[int] | None = None,
        metrics: Sequence[Score] | None = None,
    ) -> EvaluatedPlan:
        """Gains of a candidate over separate networks, and its cost, on some or all replicates.

        `metrics` say how the results' metrics are compared; without, scores are reported instead.
        """
        kept = list(range(len(self.candidates[candidate])) if rows is None else rows)

        def gains(
            part: Part | Callable[[Result], Mapping[str, float] | None], scores: Sequence[Score]
        ) -> Gains:
            ours, separate = (self.table(name, part)[kept] for name in (candidate, "separate"))
            return Gains(tuple(self.tasks), ours, separate, tuple(scores))

        scores = list(self.scores.values())
        score_blocks, blocks = self.blocks(candidate), self.blocks("separate")
        judged = gains(self.judged, scores)
        differences = tuple(replace(score, relative=False) for score in scores)
        parameters, costs = _costs([result for _, result in self.candidates[candidate][kept[0]]])
        seconds = [
            sum(nan if result.seconds is None else result.seconds for _, result in networks)
            for networks in (self.candidates[candidate][row] for row in kept)
        ]
        return EvaluatedPlan(
            plan=plan,
            test=replace(
                judged,
                score_blocks=None if score_blocks is None else score_blocks[kept],
                baseline_blocks=None if blocks is None else blocks[kept],
            ),
            evaluation=gains(self.decided, scores),
            metrics=replace(judged, definitions=differences)
            if metrics is None
            else gains(lambda result: result.metrics, metrics),
            parameters=parameters,
            seconds=float(np.mean(seconds)),
            multiply_adds=sum(cost.multiply_adds for cost in costs) if costs else None,
            costs=costs,
            unfinished=self._unfinished(candidate, kept),
        )

    def _unfinished(self, candidate: str, rows: Sequence[int]) -> float:
        """The share of tasks whose training was ended while it was still improving."""
        networks = [each for row in rows for each in self.candidates[candidate][row]]
        ended = sum(len(network.served) for network, result in networks if result.is_unfinished)
        return ended / max(1, sum(len(network.served) for network, _ in networks))


def _costs(results: Sequence[Result]) -> tuple[int, tuple[Cost, ...]]:
    """The parameters of all networks, 0 if unknown, and the cost of each, empty if not counted."""
    parameters = [each.parameters for each in results if each.parameters is not None]
    adds = [each.multiply_adds for each in results if each.multiply_adds is not None]
    if len(parameters) < len(results):
        return 0, ()
    costs = zip(parameters, adds, strict=True) if len(adds) == len(results) else ()
    return sum(parameters), tuple(Cost(*cost) for cost in costs)


def _missing(job: Job) -> Result:
    return Result.failed(job, "No result was returned.", "no-result")


def _key(job: Job) -> _Key:
    settings = tuple(sorted((name, repr(value)) for name, value in job.settings.items()))
    return job.tasks, job.seed, job.sharing, settings
