"""Scheduling: submit jobs to an executor, a limited number at a time."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol, runtime_checkable

from .protocol import Job, Result

_SHORTEST_WAIT, _LONGEST_WAIT = 0.02, 1.0  # seconds between two looks at foreign futures


@runtime_checkable
class Pending(Protocol):
    """The part of a future that is needed; submitit's jobs have it, too."""

    def done(self) -> bool:
        """Whether the result is available."""
        ...

    def result(self) -> Result:
        """The result, or the exception."""
        ...


@runtime_checkable
class JobExecutor(Protocol):
    """The part of `concurrent.futures.Executor` that is needed; submitit has it, too."""

    def submit(self, fn: Callable[..., Result], /, *args: object) -> Pending:
        """Run a function somewhere."""
        ...


def run_jobs(
    jobs: Iterable[Job],
    submit: Callable[[Job], Pending],
    limit: int,
    explain: Callable[[Job, Exception], Result],
) -> Iterator[Result]:
    """Submit jobs, at most `limit` at a time, and yield results as they finish.

    The next job is taken from `jobs` when it can be submitted. `explain` makes the result of a job
    whose future has an exception.
    """
    left = iter(jobs)
    running: dict[Pending, Job] = {}
    is_exhausted = False
    try:
        while True:
            while not is_exhausted and len(running) < limit:
                job = next(left, None)
                if job is None:
                    is_exhausted = True
                else:
                    running[submit(job)] = job
            if not running:
                return
            for future in _wait_for_any(running):
                job = running.pop(future)
                try:
                    result = future.result()
                except Exception as error:
                    result = explain(job, error)
                yield result
    finally:
        for future in running:
            if isinstance(future, Future):
                future.cancel()


def _wait_for_any(running: Collection[Pending]) -> list[Pending]:
    futures = [future for future in running if isinstance(future, Future)]
    if len(futures) == len(running):
        return list(wait(futures, return_when=FIRST_COMPLETED).done)
    pause = _SHORTEST_WAIT
    while not (finished := [future for future in running if future.done()]):
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_WAIT)
    return finished
