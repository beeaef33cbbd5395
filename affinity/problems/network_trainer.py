"""The network trainer: jobs run by our own vectorized training on a problem's rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TypeVar, cast

import torch

from affinity.errors import InputError, check_choice, check_number
from affinity.sharing import (
    SHARINGS,
    Cost,
    MakeSharing,
    Sharing,
    SharingMethod,
    SharingSettings,
    cost_of,
)
from affinity.tasks import Replicate, Score
from affinity.training import (
    MOST_BLOCKS,
    Job,
    Member,
    Objective,
    Result,
    TrainedNetwork,
    TrainingSettings,
    Weighted,
)
from affinity.training.protocol import check_accepted

from .problem import Problem, at_equal_size
from .resampling import TimeBlocks
from .train_networks import train_each

T = TypeVar("T")

MANY_TASKS = 100

_LARGE = 2**26  # bytes of the inputs of all rows


@dataclass(frozen=True, eq=False)
class NetworkResult(Result):
    """The result of a job with the network that was trained, also if it diverged."""

    network: TrainedNetwork | None = None


@dataclass(frozen=True, eq=False)
class NetworkTrainer:
    """Runs jobs as networks on a problem's rows, many at once.

    A job's seed is that of the replicate (`Problem.replicate_seeds`), its scores are losses: on
    selection rows as validation scores, and on test rows for jobs that judge. Jobs that decide
    never see test rows.

    Accepts these settings of jobs: `sharing`, and `sharing_settings` of it; `width` as a multiple
    of the problem's; `length`, a multiple of the epochs and of the patience; `rows`, the fraction
    of the training rows; `weights`, the weight of each task's loss; `stop`, the task that decides
    when training stops.
    A network with another way to share than hard is narrowed until it has as many parameters as
    with hard sharing (`at_equal_size`).

    Args:
        store: A folder in which finished trainings are kept, and not repeated.
        backend: Where to train networks one by one: ``loky``, ``ray``, ``dask``; chosen if None.
        keep: Whether results keep parameters and predictions; the store is not used then.
        keep_mixtures: Whether those of mixtures of experts do, to examine their gates; only those
            that are trained in this process.
        ways: More ways to share, by name; networks keep the problem's width.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity.training import TrainingSettings
        >>> trainer = NetworkTrainer(load_digits().with_settings(TrainingSettings(epochs=1)))
        >>> (result,) = trainer([Job("1", frozenset({"odd", "ink"}), seed=0)])
        >>> sorted(result.validation), result.test
        (['ink', 'odd'], None)
    """

    problem: Problem
    store: str | Path | None = None
    backend: str | None = None
    keep: bool = False
    keep_mixtures: bool = False
    ways: Mapping[str, MakeSharing] = field(default_factory=dict[str, MakeSharing])

    @property
    def accepts(self) -> frozenset[str]:
        """The settings that jobs may have; a width only where trunks can be made at any."""
        always = frozenset({"sharing", "sharing_settings", "length", "rows", "weights", "stop"})
        can_widen = self.problem.parts is not None and self.problem.width is not None
        return always | {"width"} if can_widen else always

    @property
    def tasks(self) -> dict[str, Score]:
        """The scores of the tasks: the loss, or the metric of a task that is judged by it."""
        return {task.name: task.score for task in self.problem.tasks}

    def with_objective(self, objective: Objective) -> "NetworkTrainer":
        """The same trainer, but losses are combined in another way."""
        problem = self.problem
        settings = replace(problem.settings, objective=objective)
        return replace(self, problem=problem.with_settings(settings))

    def __call__(self, jobs: Iterable[Job]) -> Iterator[NetworkResult]:
        """Train all jobs, those that differ only in tasks, seed and stopping at once.

        Of large tables, one seed at a time: only its replicate is in memory.
        """
        batches: dict[str, list[Job]] = {}
        is_large = self.problem.development.inputs.nbytes > _LARGE
        widths: dict[str, int | None] = {}  # at which a network is as large as with hard sharing
        for job in jobs:
            check_accepted(self, [job])
            where = f"sharing of job {job.id!r}"
            check_choice(where, job.sharing, [*SHARINGS, *self.ways], "unknown-sharing")
            settings = {name: value for name, value in job.settings.items() if name != "stop"}
            size = repr((job.sharing, sorted(settings.items()), job.names))
            if job.sharing != "hard" and job.sharing not in self.ways and size not in widths:
                widths[size] = self.problem_of(job).width
            seed = job.seed if is_large else None
            key = (job.purpose, job.sharing, sorted(settings.items()), widths.get(size), seed)
            batches.setdefault(repr(key), []).append(job)
        for batch in batches.values():
            yield from self._train(batch)

    def make_network(self, job: Job) -> Sharing:
        """The untrained network of a job, on the CPU."""
        problem = self.problem_of(job)
        tasks = tuple(task for task in problem.tasks if task.name in job.tasks)
        make = self._method_of(job)
        with torch.random.fork_rng():
            network = make(tasks, problem.trunk, problem.head, problem.development.inputs[:2])
        return network.cpu()

    def problem_of(self, job: Job) -> Problem:
        """The problem with the width, length and weights of a job."""
        problem = self.problem
        width, settings = _multiple(job, "width"), self._settings_of(job)
        if width is not None and problem.width is not None:
            problem = problem.of_width(max(1, round(width * problem.width)))
        weights = job.settings.get("weights")
        if isinstance(weights, Mapping):
            numbers = tuple((task, float(weight)) for task, weight in weights.items())
            settings = replace(settings, objective=Weighted(numbers))
        elif weights is not None:
            raise InputError(
                f"Expected weights of job {job.id!r} as a number for each task, but got "
                f"{weights!r}.",
                "invalid-weights",
            )
        problem = problem.with_settings(settings)
        if job.sharing == "hard" or job.sharing in self.ways:
            return problem
        method = self._method_of(job)
        return at_equal_size(problem, job.tasks, cast("SharingMethod", method))

    def _settings_of(self, job: Job) -> TrainingSettings:
        """The problem's settings with the length of a job."""
        settings, length = self.problem.settings, _multiple(job, "length")
        if length is None:
            return settings
        epochs, patience = (
            max(1, round(length * value)) for value in (settings.epochs, settings.patience)
        )
        return replace(settings, epochs=epochs, patience=patience)

    def _method_of(self, job: Job) -> MakeSharing:
        """What makes a job's network."""
        if job.sharing in self.ways:
            return self.ways[job.sharing]
        settings = job.settings.get("sharing_settings", {})
        return SHARINGS[job.sharing].with_settings(cast("SharingSettings", settings))

    @cached_property
    def n_blocks(self) -> int:
        """The number of blocks of test rows, from which the error over other rows is estimated.

        Blocks are long if rows close in time resemble each other, and fewer if there are many
        tasks, to save memory and disk space.
        """
        if isinstance(self.problem.resampling, TimeBlocks):
            return self.problem.resampling.blocks
        return MOST_BLOCKS if len(self.problem.tasks) <= MANY_TASKS else MOST_BLOCKS // 4

    def _train(self, jobs: list[Job]) -> Iterator[NetworkResult]:
        first = jobs[0]
        replicates: dict[tuple[int, int], Replicate] = {}  # by stopping task and seed
        for job in sorted(jobs, key=self._replicate_key):
            key = self._replicate_key(job)
            if key not in replicates:
                replicates[key] = self._replicate_of(job)
        places = {key: place for place, key in enumerate(replicates)}
        numbers: dict[frozenset[str], set[int]] = {}
        for job in jobs:
            numbers.setdefault(job.tasks, set()).add(places[self._replicate_key(job)])
        members = [
            Member(tasks, number) for tasks, used in numbers.items() for number in sorted(used)
        ]
        mixture = first.sharing == "mmoe"
        networks = train_each(
            self.problem_of(first),
            members,
            list(replicates.values()),
            sharing=self._method_of(first),
            store=self.store,
            backend=self.backend,
            keep=self.keep or (self.keep_mixtures and mixture and self.backend is None),
        )
        trained = dict(zip(members, networks, strict=True))
        costs: dict[frozenset[str], Cost] = {}
        for job in jobs:
            if job.purpose == "judge" and job.tasks not in costs:
                sample = self.problem.development.inputs[:2]
                costs[job.tasks] = cost_of(self.make_network(job), sample)
            member = Member(job.tasks, places[self._replicate_key(job)])
            yield self._result_of(job, trained[member], costs.get(job.tasks))

    def _replicate_key(self, job: Job) -> tuple[int, int]:
        """The column of the task that decides when training stops, and the seed."""
        task = job.settings.get("stop")
        if task is not None and task not in job.tasks:
            raise InputError(
                f"Expected a task of job {job.id!r} that decides when training stops, but got "
                f"{task!r}.",
                "invalid-stop",
            )
        return -1 if task is None else self.problem.names.index(str(task)), job.seed

    def _replicate_of(self, job: Job) -> Replicate:
        """The rows that a job may see."""
        replicate = self.problem.replicate(job.seed)
        if (fraction := _multiple(job, "rows")) is not None:
            count = max(1, round(fraction * len(replicate.training)))
            training = replicate.training.view(torch.arange(min(count, len(replicate.training))))
            replicate = replace(replicate, training=training)
        if (task := job.settings.get("stop")) is not None:
            rows = replicate.validation
            is_other = torch.tensor([name != task for name in self.problem.names])
            targets = rows.targets.masked_fill(is_other, torch.nan)
            replicate = replace(replicate, validation=rows.with_targets(targets))
        if job.purpose == "judge":
            return replicate
        assert replicate.evaluation is not None  # the problem drew it
        return replace(replicate, test=replicate.evaluation)

    def _result_of(self, job: Job, network: TrainedNetwork, cost: Cost | None) -> NetworkResult:
        result = NetworkResult(
            job,
            parameters=network.n_parameters,
            seconds=network.seconds,
            is_unfinished=network.is_unfinished(self._settings_of(job).epochs),
            multiply_adds=None if cost is None else cost.multiply_adds,
            network=network,
        )
        judged = [task.name for task in self.problem.tasks if task.is_judged_by_metric]

        def chosen(losses: Mapping[str, T], metrics: Mapping[str, T]) -> dict[str, T]:
            return {
                name: metrics[name] if name in judged else loss
                for name, loss in losses.items()
                if name not in judged or name in metrics
            }

        validation = _known(chosen(network.evaluation_loss, network.evaluation_metric))
        test = _known(chosen(network.test_loss, network.test_metric))
        if network.diverged is not None:
            return replace(result, error=network.diverged, code="diverged")
        if not validation and not test:
            error = f"There are no labels of {', '.join(job.names)} on rows of the selection split."
            return replace(result, error=error, code="no-labels")
        if job.purpose == "decide":
            return replace(result, validation=validation)
        return replace(
            result,
            validation=validation,
            test=test,
            metrics=_known(network.test_metric),
            rows={
                task: _blocks(losses, self.n_blocks)
                for task, losses in chosen(network.test_blocks, network.metric_blocks).items()
                if losses
            },
        )


def _multiple(job: Job, name: str) -> float | None:
    value = job.settings.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float):
        raise InputError(f"Expected {name} to be a number, but got {value!r}.", f"invalid-{name}")
    check_number(f"{name} of job {job.id!r}", value, f"invalid-{name}", above=0, below=inf)
    return float(value)


def _known(scores: Mapping[str, float]) -> dict[str, float]:
    return {task: score for task, score in scores.items() if score == score}


def _blocks(losses: Sequence[float], most: int) -> tuple[float, ...]:
    """The means of at most `most` parts."""
    parts = torch.tensor(losses).tensor_split(min(most, len(losses)))
    return tuple(torch.stack([part.mean() for part in parts]).tolist())
