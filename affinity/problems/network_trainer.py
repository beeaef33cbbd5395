"""The network trainer: jobs run by our own vectorized training on a problem's rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Replicate, Score
from affinity.training import Job, Result
from affinity.training.protocol import check_accepted

from .problem import Problem, at_equal_size
from .train_networks import TrainingResults, train_networks


@dataclass(frozen=True, eq=False)
class NetworkTrainer:
    """Runs jobs as networks on a problem's rows, many at once.

    A job's seed is that of the replicate (`Problem.replicate_seeds`), its scores are losses: on
    evaluation rows as validation scores, and on test rows for jobs that judge. Jobs that decide
    never see test rows.

    Accepts these settings of jobs: `sharing`; `width` as a multiple of the problem's; `length`, a
    multiple of the epochs and of the patience; `rows`, the fraction of the training rows.

    Args:
        problem: Tasks, rows, trunk and heads.
        store: A folder in which finished trainings are kept, and not repeated.
        backend: Where to train networks one by one: ``loky``, ``ray``, ``dask``; chosen if None.

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

    @property
    def accepts(self) -> frozenset[str]:
        """The settings that jobs may have; a width only where trunks can be made at any."""
        always = frozenset({"sharing", "length", "rows"})
        return always if self.problem.parts is None else always | {"width"}

    @property
    def tasks(self) -> dict[str, Score]:
        """The scores of the tasks: losses."""
        return {task.name: Score("minimize") for task in self.problem.tasks}

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Train all jobs, those that differ only in tasks and seed at once.

        Raises:
            InputError: If a job has an unknown task or a setting that is not accepted.
        """
        batches: dict[object, list[Job]] = {}
        for job in jobs:
            check_accepted(self, [job])
            settings = (job.purpose, job.sharing, sorted(job.settings.items()))
            tasks = () if job.sharing == "hard" else job.names
            batches.setdefault(repr((settings, tasks)), []).append(job)
        for batch in batches.values():
            yield from self._train(batch)

    def _train(self, jobs: list[Job]) -> Iterator[Result]:
        first = jobs[0]
        problem = self._problem_of(first)
        seeds = list(dict.fromkeys(job.seed for job in jobs))
        subsets: dict[frozenset[str], list[int]] = {}
        for job in jobs:
            subsets.setdefault(job.tasks, []).append(seeds.index(job.seed))
        results = train_networks(
            problem,
            list(subsets),
            [self._replicate_of(first, seed) for seed in seeds],
            sharing=first.sharing,
            store=self.store,
            backend=self.backend,
            replicate_subsets=list(subsets.values()),
        )
        for job in jobs:
            yield _result_of(job, results, results.networks.index(job.tasks), seeds.index(job.seed))

    def _problem_of(self, job: Job) -> Problem:
        """The problem with the width and the length that the job asks for."""
        problem = self.problem
        width, length = (_multiple(job, name) for name in ("width", "length"))
        if width is not None:
            if problem.width is None:
                raise InputError(
                    f"Expected a problem of known width for job {job.id!r}, but {problem.name!r} "
                    "has none.",
                    "unknown-width",
                )
            problem = problem.of_width(max(1, round(width * problem.width)))
        if length is not None:
            settings = problem.settings
            problem = problem.with_settings(
                replace(
                    settings,
                    epochs=max(1, round(length * settings.epochs)),
                    patience=max(1, round(length * settings.patience)),
                )
            )
        return problem if job.sharing == "hard" else at_equal_size(problem, job.tasks, job.sharing)

    def _replicate_of(self, job: Job, seed: int) -> Replicate:
        """The rows of a replicate that the job may see."""
        replicate = self.problem.replicate(seed)
        if (fraction := _multiple(job, "rows")) is not None:
            count = max(1, round(fraction * len(replicate.training)))
            training = replicate.training.take(torch.arange(min(count, len(replicate.training))))
            replicate = replace(replicate, training=training)
        if job.purpose == "judge":
            return replicate
        assert replicate.evaluation is not None  # the problem drew it
        return replace(replicate, test=replicate.evaluation)


def _multiple(job: Job, name: str) -> float | None:
    value = job.settings.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(
            f"Expected {name} of job {job.id!r} to be a multiple above 0, but got {value!r}.",
            f"invalid-{name}",
        )
    return float(value)


def _result_of(job: Job, results: TrainingResults, network: int, replicate: int) -> Result:
    def scores(losses: Tensor) -> Mapping[str, float]:
        row = dict(zip(results.tasks, losses[network, replicate].tolist(), strict=True))
        return {task: row[task] for task in job.names if row[task] == row[task]}

    seconds = float(results.seconds[network, replicate])
    validation = scores(results.evaluation_loss)
    if not validation:
        return Result.failed(job, "A loss became NaN or infinite.", "diverged", seconds)
    is_judged = job.purpose == "judge"
    blocks = results.test_blocks[network]
    rows = {task: tuple(blocks[task][replicate].tolist()) for task in job.names if task in blocks}
    return Result(
        job,
        validation=validation,
        test=scores(results.test_loss) if is_judged else None,
        rows=rows if is_judged and len(rows) == len(job.tasks) else None,
        parameters=results.parameters[network],
        seconds=seconds,
    )
