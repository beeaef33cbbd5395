"""The function trainer: runs jobs with a user's function, locally or on a cluster."""

import inspect
import json
import os
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from affinity.errors import InputError, check_number
from affinity.files import write_atomically
from affinity.storage import to_jsonable

from .children import prepare_worker
from .protocol import SETTINGS, Job, Result, check_accepted, check_settings
from .scheduling import JobExecutor, Pending, run_jobs

SCORES = "scores.json"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class FunctionTrainer:
    """Runs ``train(tasks, seed)`` for each job.

    An exception in the function, or a return value other than one score per task, gives a
    failed result. With several workers, each is a separate process: if one crashes (out of memory,
    a segmentation fault), only its job fails.

    Args:
        train: Takes the tasks in alphabetical order and the seed; returns a score for each task,
            or `Scores`. The settings of a job are passed as keyword arguments.
        workers: Number of parallel trainings; 1 runs them in this process. With an executor, the
            number of jobs submitted at a time (by default its number of workers).
        executor: Runs the trainings; local processes if None.
        settings: Settings of jobs that the function takes, such as "width" (`SETTINGS`). If None,
            those that are names of its arguments: ``train(tasks, seed, width=1.0)``.
        folder: If given, each worker also writes the scores to ``folder/JOB/scores.json``, so
            that a finished training survives the end of this process.

    Example:
        >>> def train(tasks, seed):
        ...     return {task: 0.5 + 0.1 * len(tasks) for task in tasks}
        >>> (result,) = FunctionTrainer(train)([Job("1", frozenset({"a", "b"}), seed=0)])
        >>> result.validation
        {'a': 0.7, 'b': 0.7}
    """

    train: Callable[..., object]
    workers: int | None = None
    executor: JobExecutor | None = None
    settings: Collection[str] | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        check_settings(self.settings or ())
        if not callable(self.train):
            raise InputError(
                f"Expected a function train(tasks, seed), but got {self.train!r}. For a script, "
                "use CommandTrainer.",
                "not-a-function",
            )
        check_number("workers", self.workers, "no-workers", least=1)

    @property
    def accepts(self) -> frozenset[str]:
        """The settings that jobs may have."""
        if self.settings is not None:
            return frozenset(self.settings)
        try:
            arguments = inspect.signature(self.train).parameters
        except (TypeError, ValueError):  # built-in functions have no signature
            return frozenset()
        return frozenset(SETTINGS).intersection(arguments)

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Run the jobs; results come as they finish."""
        accepted = _accepted(self, jobs)
        if self.executor is not None:
            return self._run_on(self.executor, accepted)
        workers = self.workers or 1
        if workers == 1:
            return (_run_here(self.train, job, self.folder) for job in accepted)
        return self._run_in_processes(accepted, workers)

    def _run_on(self, executor: JobExecutor, jobs: Iterable[Job]) -> Iterator[Result]:
        limit = self.workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1

        def submit(job: Job) -> Pending:
            try:
                return executor.submit(_run_here, self.train, job, self.folder)
            except (BrokenExecutor, RuntimeError) as error:
                raise InputError(
                    f"Expected an executor that takes jobs, but job {job.id!r} could not be "
                    f"submitted: {_named(error)}. Call again with a new executor.",
                    "executor-broken",
                ) from error

        return run_jobs(jobs, submit, limit, _explain)

    def _run_in_processes(self, jobs: Iterable[Job], workers: int) -> Iterator[Result]:
        from joblib.externals.loky.backend.reduction import dumps
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        try:
            dumps(self.train)
        except Exception as error:
            raise InputError(
                f"Expected a function that other processes can load, but it cannot be pickled: "
                f"{_named(error)}. Open files, locks and models inside the function, or use "
                "workers=1.",
                "cannot-be-pickled",
            ) from error
        threads = {name: str(max(1, (os.cpu_count() or 1) // workers)) for name in _THREADS}
        environment = {
            **threads,
            **{name: os.environ[name] for name in threads & os.environ.keys()},
        }
        free: list[ProcessPoolExecutor] = []
        used: dict[str, ProcessPoolExecutor] = {}

        def start() -> ProcessPoolExecutor:
            return ProcessPoolExecutor(1, initializer=prepare_worker, env=environment)

        def submit(job: Job) -> Pending:
            process = used[job.id] = free.pop() if free else start()
            return process.submit(_run_here, self.train, job, self.folder)

        try:
            for result in run_jobs(jobs, submit, workers, _explain):
                process = used.pop(result.job.id)
                if result.code == "worker-died":
                    process.shutdown(wait=False, kill_workers=True)
                else:
                    free.append(process)
                yield result
        finally:
            for process in (*free, *used.values()):
                process.shutdown(wait=True, kill_workers=True)


def _accepted(trainer: FunctionTrainer, jobs: Iterable[Job]) -> Iterator[Job]:
    for job in jobs:
        check_accepted(trainer, [job])
        yield job


def _run_here(train: Callable[..., object], job: Job, folder: Path | None) -> Result:
    """Run one job in this process."""
    began = time.perf_counter()
    settings = dict(job.settings)
    if job.sharing != "hard":
        settings["sharing"] = job.sharing
    try:
        scores = train(job.names, job.seed, **settings)
        result = Result.of(job, scores, time.perf_counter() - began)
    except InputError as error:
        return Result.failed(job, str(error), error.code, time.perf_counter() - began)
    except (Exception, SystemExit) as error:
        return Result.failed(job, _named(error), "exception", time.perf_counter() - began)
    if folder is not None:
        with suppress(InputError):  # a cluster without this folder: the result comes back anyway
            write_scores(result, folder)
    return result


def write_scores(result: Result, folder: Path) -> None:
    """Write the scores of a result in the format that commands write."""
    names = ("validation", "test", "rows", "parameters", "seconds")
    parts = {name: getattr(result, name) for name in names}
    text = json.dumps({name: to_jsonable(part) for name, part in parts.items() if part is not None})
    write_atomically(folder / result.job.id / SCORES, text)


def _explain(job: Job, error: Exception) -> Result:
    """The failed result of a job whose worker raised an exception."""
    if isinstance(error, BrokenExecutor):
        what = "The worker process died, probably out of memory or by a crash"
        return Result.failed(job, f"{what} ({_named(error).splitlines()[0]}).", "worker-died")
    return Result.failed(job, _named(error), "exception")


def _named(error: BaseException) -> str:
    """The exception with its type and, if known, the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
