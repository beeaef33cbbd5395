"""The queue: the jobs of a study, planned when they are needed, handed out once, and recorded."""

import secrets
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from filelock import FileLock

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.tasks import Score
from affinity.training import CommandTrainer, FunctionTrainer, Job, Result, Trainer
from affinity.training.function_trainer import SCORES
from affinity.training.protocol import read_scores
from affinity.words import count

from .deciding import NextJob, StudyState, next_jobs, with_best_ways
from .ledger import (
    AuditPlanned,
    Contents,
    Entry,
    Failed,
    Ledger,
    Planned,
    Released,
    Started,
    State,
    Told,
)

TRAININGS = "trainings"  # the folder inside a study's with the scores and output of each job
Observer = Callable[[Job | Result], object]  # called with jobs handed out, results recorded
_TRANSIENT = ("exception", "worker-died", "exit-status")  # failures that may not happen again
_FAILURES = 3  # failed jobs, without any success, after which a run stops
_DECIDING = "deciding.lock"


class JobQueue:
    """The jobs of a study; any number of threads and processes may use them at the same time.

    `prior` are affinities that may predict gains.
    """

    def __init__(
        self, ledger: Ledger, tasks: Mapping[str, Score], prior: Sequence[AffinityMatrix]
    ) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self._prior = tuple(prior)

    def state(self, ended: int | None = None) -> StudyState:
        """The results that decide, the jobs without a result, and the settings.

        `ended` is how many results and failures to use, the first ones; None: all.
        """
        with self._ledger.reading() as contents:
            return self._state(contents, ended)

    def _state(self, contents: Contents, ended: int | None = None) -> StudyState:
        assert contents.created is not None
        deciding = [e for e in contents.entries.values() if e.job.purpose == "decide"]
        if ended is not None:
            judging = {e.job.id for e in contents.entries.values() if e.job.purpose == "judge"}
            first = [job_id for job_id in contents.ended if job_id not in judging][:ended]
            deciding = [entry for entry in deciding if entry.job.id in set(first)]
        trained = [entry for entry in deciding if entry.job.sharing == "hard"]
        state = StudyState(
            tasks=self._tasks,
            budget=contents.created.budget,
            results=tuple(e.result for e in deciding if e.is_done and e.result is not None),
            pending=tuple(e.job for e in deciding if e.state in ("waiting", "running")),
            failed=tuple(e.job for e in trained if e.state == "failed"),
            trainings_left=contents.trainings - sum(not e.is_past for e in trained),
            prior=self._prior,
            tolerance=contents.created.tolerance,
            seed=contents.created.seed,
            n_ended=sum(entry.has_ended for entry in deciding),
            n_failed=sum(entry.state == "failed" for entry in deciding),
        )
        return with_best_ways(state) if contents.created.merging else state

    def plan(self, jobs: Sequence[tuple[Job, str]], audit: AuditPlanned | None = None) -> None:
        """Write jobs, each with the reason for it, and an audit to the ledger.

        Jobs that it contains already, under any id, are left out.
        """
        with self._ledger.writing() as contents:
            planned = {without_id(entry.job) for entry in contents.entries.values()}
            new = [(job, why) for job, why in jobs if without_id(job) not in planned]
            first = 1 + sum(not entry.is_past for entry in contents.entries.values())
            assert contents.created is not None
            study = contents.created.study
            events = [
                Planned(job=replace(job, id=f"{study}-{number}"), why=why)
                for number, (job, why) in enumerate(new, start=first)
            ]
            if audit is not None and not (contents.audit and contents.audit.is_same(audit)):
                self._ledger.append(audit, *events)
            elif events:
                self._ledger.append(*events)

    def hand_out(
        self, n: int | None, runner: str | None, only: Collection[Job] | None = None
    ) -> list[Job]:
        """Mark `n` jobs that wait as running, all if None; plan more if fewer than `n` wait.

        With `only`, just jobs with these keys (`without_id`) are handed out or planned.
        """
        with FileLock(self._ledger.folder / _DECIDING):
            with self._ledger.reading() as contents:
                ready = self._ready(contents, only)
                state = self._state(contents)
                merging = contents.created.merging if contents.created else []
            if only is None and len(ready) < (n or 1):
                planned = next_jobs(state)
                while planned:
                    self.plan(_jobs_of(planned, merging))
                    with self._ledger.reading() as contents:
                        ready = self._ready(contents)
                        state = self._state(contents)
                    planned = next_jobs(state) if n is not None and len(ready) < n else []
            with self._ledger.writing() as contents:
                jobs = [entry.job for entry in self._ready(contents, only)[:n]]
                if jobs:
                    self._ledger.append(*(Started(id=job.id, runner=runner) for job in jobs))
        return jobs

    def _ready(self, contents: Contents, only: Collection[Job] | None = None) -> list[Entry]:
        """Jobs that can be handed out, those of a process that died first."""
        by_state: dict[State, list[Entry]] = {"stale": [], "waiting": []}
        for entry in contents.entries.values():
            state = self._ledger.state_of(entry)
            if state in by_state and (only is None or without_id(entry.job) in only):
                by_state[state].append(entry)
        return [*by_state["stale"], *by_state["waiting"]]

    def run(
        self,
        trainer: Trainer,
        retries: int,
        observe: Observer | None,
        only: Collection[Job] | None = None,
    ) -> None:
        """Run jobs with a trainer until none is left; each result is recorded as it comes."""
        streams = isinstance(trainer, FunctionTrainer | CommandTrainer)
        with self._ledger.runner(secrets.token_hex(4)) as runner:
            self._recover()
            try:
                while batch := self.hand_out(1 if streams else None, runner, only):
                    jobs = self._stream(batch, runner, only) if streams else batch
                    with closing(_closable(trainer(_observed(jobs, observe)))) as results:
                        for result in results:
                            self.record(result, retries)
                            if observe is not None:
                                observe(result)
                            self._check_progress(only)
            finally:
                self._release(runner)

    def _stream(self, first: list[Job], runner: str, only: Collection[Job] | None) -> Iterator[Job]:
        """Each job when the trainer can start it, so that later ones follow from results."""
        jobs = first
        while jobs:
            yield from jobs
            jobs = self.hand_out(1, runner, only)

    def record(self, result: Result, retries: int = 0) -> None:
        """Write a result to the ledger; a job that may be retried waits again."""
        job = result.job
        with self._ledger.writing() as contents:
            entry = contents.entry(job.id)
            if entry.is_done:
                if entry.result is not None and _are_equal(entry.result, result):
                    return
                raise told_twice(job.id)
            if result.error is None:
                self._ledger.append(_told(result))
                return
            failed = Failed(
                id=job.id, reason=result.error, code=result.code or "", seconds=result.seconds
            )
            failures = 1 + sum(isinstance(event, Failed) for event in entry.history)
            if result.code in _TRANSIENT and failures <= retries:
                self._ledger.append(failed, Released(id=job.id))
            else:
                self._ledger.append(failed)

    def results(self, only: Collection[Job], what: str) -> dict[Job, Result]:
        """The results of the jobs of an audit or a diagnosis with these keys (`without_id`)."""
        with self._ledger.reading() as contents:
            by_key = {without_id(entry.job): entry for entry in contents.entries.values()}
            entries = {key: by_key[key] for key in only}
            check_ended(list(entries.values()), what)
        return {key: entry.result for key, entry in entries.items() if entry.result is not None}

    def _check_progress(self, only: Collection[Job] | None) -> None:
        """Stop when the first usual trainings all fail: further ones would probably fail, too."""
        with self._ledger.reading() as contents:
            entries = [
                entry
                for entry in contents.entries.values()
                if not (entry.is_past or entry.job.settings)
                and (only is None or without_id(entry.job) in only)
            ]
        failed = [entry for entry in entries if entry.state == "failed"]
        if len(failed) < _FAILURES or any(entry.is_done for entry in entries):
            return
        reason = failed[-1].result
        raise InputError(
            f"Expected trainings that succeed, but the first {len(failed)} all failed. Fix the "
            "cause, hand them out again (affinity study retry FOLDER JOB, or "
            "study.retry(job_id)), and run again. The last one failed because of: "
            f"{reason.error if reason else ''}",
            "all-trainings-failed",
        )

    def _recover(self) -> None:
        """Record the scores that jobs wrote before the process that ran them died."""
        with self._ledger.reading() as contents:
            stale = [
                e.job for e in contents.entries.values() if self._ledger.state_of(e) == "stale"
            ]
        for job in stale:
            path = self._ledger.folder / TRAININGS / job.id / SCORES
            try:
                scores = read_scores(job, path.read_text(encoding="utf-8"), str(path))
                result = Result.of(job, scores)
            except (OSError, UnicodeDecodeError, InputError):
                continue
            self.record(result)

    def _release(self, runner: str) -> None:
        """Put the unfinished jobs of a run that ends back into the queue."""
        with self._ledger.writing() as contents:
            left = [
                entry.job.id
                for entry in contents.entries.values()
                if entry.state == "running" and entry.runner == runner
            ]
            if left:
                self._ledger.append(*(Released(id=job_id) for job_id in left))


@dataclass(frozen=True)
class QueuedTrainer:
    """A trainer of a diagnosis: jobs go through a study's queue, those with a result only once."""

    queue: JobQueue
    trainer: Trainer | None  # None: the trainings wait for `ask`
    accepts: frozenset[str]  # settings that jobs may have
    retries: int = 1  # how often a failed training is repeated
    observe: Observer | None = None  # called with each job and each result

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Run the jobs that have no result, and return the results of all."""
        jobs_by_key = {without_id(job): job for job in jobs}
        self.queue.plan([(job, "a diagnosis") for job in jobs_by_key.values()])
        if self.trainer is not None:
            self.queue.run(self.trainer, self.retries, self.observe, jobs_by_key.keys())
        for key, result in self.queue.results(jobs_by_key.keys(), "diagnosis").items():
            yield replace(result, job=jobs_by_key[key])


def _jobs_of(planned: Sequence[NextJob], merging: Sequence[str]) -> list[tuple[Job, str]]:
    """The jobs with their reasons, and last the networks that are merged from single tasks."""
    jobs = [(Job("", each.tasks, each.seed), each.why) for each in planned]
    groups = [job for job, _ in jobs if len(job.tasks) > 1]
    merged = ((replace(job, sharing=way), way) for job in groups for way in merging)
    return [*jobs, *((job, f"the same tasks, {way}") for job, way in merged)]


def without_id(job: Job) -> Job:
    """A key that is equal for two jobs if they are the same training."""
    return replace(job, id="", settings=dict(job.settings))


def check_ended(entries: Sequence[Entry], what: str) -> None:
    """Raise an error if some jobs of an audit or a diagnosis have neither scores nor failed."""
    left = [entry for entry in entries if not entry.has_ended]
    if left:
        waiting = sum(entry.state == "waiting" for entry in left)
        raise InputError(
            f"Expected results of {count(len(entries), 'training')} of the {what}, but {waiting} "
            f"wait and {len(left) - waiting} run. Hand them out (study.ask, or affinity study ask) "
            f"and tell their scores, or give a function or a command that runs them; then call the "
            f"{what} again.",
            f"{what}-unfinished",
        )


def told_twice(job_id: str) -> InputError:
    """The error of a job that has other scores."""
    return InputError(
        f"Expected the scores that job {job_id!r} already has, but got others (or a failure). "
        "Recorded results cannot be changed.",
        "told-twice",
    )


def _told(result: Result) -> Told:
    return Told(
        id=result.job.id,
        validation=None if result.validation is None else dict(result.validation),
        test=None if result.test is None else dict(result.test),
        rows=None if result.rows is None else dict(result.rows),
        parameters=result.parameters,
        seconds=result.seconds,
    )


def _are_equal(one: Result, other: Result) -> bool:
    return (one.validation, one.test) == (other.validation, other.test)


def _observed(jobs: Iterable[Job], observe: Observer | None) -> Iterator[Job]:
    """The jobs, each shown to the observer first."""
    for job in jobs:
        if observe is not None:
            observe(job)
        yield job


def _closable(results: Iterator[Result]) -> Generator[Result]:
    """The trainer's results as a generator: closing it closes that of the trainer, too."""
    yield from results
