"""A study: which tasks should share a network, found with trainings that you run."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from affinity.audit import Audit, AuditContext
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, GradientCosine, InterTaskAffinity
from affinity.files import write_atomically
from affinity.grouping import Network
from affinity.recommendation import Plan, PlanProvenance
from affinity.recording import Trace
from affinity.tasks import Score, check_names
from affinity.tasks.score import MATTERS
from affinity.training import CommandTrainer, FunctionTrainer, Job, Result, Trainer
from affinity.training.function_trainer import SCORES
from affinity.training.protocol import Purpose, read_scores
from affinity.words import count

from .deciding import (
    Answer,
    NextJob,
    StudyState,
    current_answer,
    measured_gains,
    next_jobs,
)
from .judging import finished_audit, next_audit, unfinished_plan
from .ledger import (
    VERSION,
    Added,
    Contents,
    Created,
    Entry,
    Extended,
    Failed,
    Ledger,
    Planned,
    Released,
    Started,
    State,
    Told,
)
from .past_runs import read_past_runs

TRAININGS = "trainings"
"""The folder inside a study's with the scores and output of each job."""

_TRANSIENT = ("exception", "worker-died", "exit-status")  # failures that may not happen again
_FAILURES = 3  # failed jobs, without any success, after which a run stops
_DECIDING = "deciding.lock"
_COLUMNS = (
    *("job", "purpose", "state", "tasks", "seed", "task"),
    *("validation", "test", "seconds", "why", "error"),
)


@dataclass(frozen=True)
class StudyStatus:
    """The progress of a study.

    Args:
        trainings: Maximum number of trainings that decide.
        waiting: Jobs that are planned and not yet handed out.
        running: Jobs that were handed out.
        done: Jobs with scores.
        failed: Jobs that failed.
        stale: Jobs whose process died; they are handed out again.
        past: Runs from before the study.
        judging: Jobs of audits, in any state; they count in none of the numbers above.
        judged: Jobs of audits that have ended.
        seconds: The time that all trainings took together, as far as it is known.
        last_seconds: The time that the last training took.
        reasons: Reason of failure by job.
    """

    trainings: int
    waiting: int
    running: int
    done: int
    failed: int
    stale: int
    past: int
    judging: int
    judged: int
    seconds: float
    last_seconds: float | None
    reasons: Mapping[str, str]

    @property
    def left(self) -> int:
        """Number of trainings that may still be run."""
        return max(0, self.trainings - self.done - self.failed)

    def __str__(self) -> str:
        """A few lines for a terminal."""
        states = ", ".join(
            f"{getattr(self, state)} {state}"
            for state in ("done", "running", "waiting", "failed", "stale")
            if getattr(self, state)
        )
        lines = [f"At most {count(self.trainings, 'training')}: {states or 'none run'}"]
        if self.judging:
            lines.append(f"audit: {self.judged} of {count(self.judging, 'training')} ended")
        lines += [f"{job} failed: {reason}" for job, reason in self.reasons.items()]
        return "\n".join(lines)


class Study:
    """Decides which tasks share a network, with trainings that you run.

    Everything is kept in a folder, and each result is on the disk before the next step: the same
    call continues the study, even after it was killed. Any number of threads and processes
    may use the folder at the same time.

    Args:
        folder: The study's folder.
        tasks: The score of each task: "maximize", "minimize" or a `Score`. Can be omitted if
            the study exists, like all arguments below.
        budget: Maximum number of networks.
        trainings: How many trainings may be used to decide, at least 2. Those of audits do not
            count.
        prior: Affinity matrices, or traces to estimate them from. How far to trust them is
            learned; they decide what is trained first.
        tolerance: Differences of the overall gain smaller than this do not matter: 0.01 is one
            difference that matters (`Score.unit`).
        seed: The first seed of the trainings.

    Raises:
        InputError: If the folder holds a study with other settings, a setting is invalid, or there
            is no study and tasks, budget or trainings are missing.

    Example:
        >>> import tempfile
        >>> def train(tasks, seed):  # the larger the group, the better
        ...     return {task: 0.7 + 0.05 * len(tasks) for task in tasks}
        >>> study = Study(
        ...     tempfile.mkdtemp(), {"click": "maximize", "like": "maximize"}, budget=1, trainings=3
        ... )
        >>> study.run(train).done
        3
        >>> [sorted(network.served) for network in study.plan().grouping.networks]
        [['click', 'like']]
    """

    def __init__(
        self,
        folder: str | Path,
        tasks: Mapping[str, Score | str] | None = None,
        budget: int | None = None,
        trainings: int | None = None,
        prior: Sequence[AffinityMatrix | Trace] = (),
        tolerance: float | None = None,
        seed: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._ledger = Ledger(folder)
        scores = None if tasks is None else _checked_tasks(tasks)
        matrices = tuple(map(_matrix, prior))
        if budget is not None and budget < 1:
            raise InputError(
                f"Expected a budget of at least 1 network, but got {budget}.", "budget-too-small"
            )
        if trainings is not None and trainings < 2:
            raise InputError(
                f"Expected at least 2 trainings, but got {trainings}.", "too-few-trainings"
            )
        if tolerance is not None and not tolerance >= 0:
            raise InputError(
                f"Expected a tolerance of at least 0, but got {tolerance}.", "invalid-tolerance"
            )
        if not self._ledger.exists():
            if scores is None or budget is None or trainings is None:
                raise InputError(
                    f"Expected a study in {str(self.folder)!r}, but there is none. To make one, "
                    "give tasks, budget and trainings.",
                    "no-study",
                )
            _check_prior(matrices, tuple(scores))
            for number, matrix in enumerate(matrices, start=1):
                write_atomically(self._prior_path(number), matrix.frame().to_csv(index=False))
            self._create(
                Created(
                    version=VERSION,
                    study=secrets.token_hex(2),
                    tasks=scores,
                    budget=budget,
                    trainings=trainings,
                    tolerance=0.01 if tolerance is None else tolerance,
                    seed=seed or 0,
                    prior=list(map(_digest, matrices)),
                )
            )
        self._check_same(
            {
                "tasks": scores,
                "budget": budget,
                "trainings": trainings,
                "prior": list(map(_digest, matrices)) or None,
                "tolerance": tolerance,
                "seed": seed,
            }
        )
        self.tasks = self._created.tasks
        """The score of each task."""
        self._prior = matrices or self._read_prior()
        self._answer: tuple[int, Answer] | None = None

    def __repr__(self) -> str:
        """The folder and the tasks."""
        return f"Study({str(self.folder)!r}, tasks={list(self.tasks)})"

    @property
    def _created(self) -> Created:
        with self._ledger.reading() as contents:
            assert contents.created is not None
            return contents.created

    def _create(self, created: Created) -> None:
        with self._ledger.writing() as contents:
            if contents.created is None:  # no other process was faster
                self._ledger.append(created)

    def _check_same(self, settings: Mapping[str, object]) -> None:
        with self._ledger.reading() as contents:
            assert contents.created is not None
            kept = {name: getattr(contents.created, name) for name in settings}
            kept["trainings"] = contents.trainings
        differences = [
            f"{name} is {_shown(kept[name])} there and {_shown(value)} here"
            for name, value in settings.items()
            if value is not None and value != kept[name]
        ]
        if differences:
            raise InputError(
                f"Expected the settings of the study in {str(self.folder)!r}, but "
                f"{'; '.join(differences)}. Use another folder for another study; "
                "Study(folder) opens this one, and its extend(trainings) allows more trainings.",
                "other-settings",
            )

    def _prior_path(self, number: int) -> Path:
        return self.folder / f"prior-{number}.csv"

    def _read_prior(self) -> tuple[AffinityMatrix, ...]:
        names = self._created.prior
        return tuple(
            AffinityMatrix.from_frame(
                pd.read_csv(self._prior_path(number), keep_default_na=False, na_values=[""]),
                name.partition(":")[0] or None,
            )
            for number, name in enumerate(names, start=1)
        )

    def extend(self, trainings: int) -> None:
        """Allow more trainings.

        Raises:
            InputError: If it is not more than before.
        """
        with self._ledger.writing() as contents:
            if trainings <= contents.trainings:
                raise InputError(
                    f"Expected more than {contents.trainings} trainings, but got {trainings}.",
                    "too-few-trainings",
                )
            self._ledger.append(Extended(trainings=trainings))

    def ask(self, n: int = 1) -> list[Job]:
        """The next useful trainings, at most `n`; run them anywhere, and `tell` their scores.

        Fewer than `n` come back if no more trainings are allowed, the best grouping is found, or
        results are needed before more can be decided. Jobs of a run that died come first.

        Raises:
            InputError: If `n` is below 1.
        """
        if n < 1:
            raise InputError(f"Expected n to be at least 1, but got {n}.", "no-jobs")
        return self._hand_out(n, None)

    def tell(self, job_id: str, scores: object, seconds: float | int | None = None) -> None:
        """Record the scores of a job.

        Args:
            job_id: The job's `id`.
            scores: A score for each of its tasks, or `Scores`.
            seconds: The time that the training took.

        Raises:
            InputError: If the job was never handed out, the scores are invalid, or the job already
                has other scores; the same scores may be recorded again.
        """
        job = self.job(job_id)
        self._record(Result.of(job, scores, None if seconds is None else float(seconds)))

    def job(self, job_id: str) -> Job:
        """The job with this id.

        Raises:
            InputError: If there is no such job.
        """
        with self._ledger.reading() as contents:
            return contents.entry(job_id).job

    def fail(self, job_id: str, reason: str) -> None:
        """Record that a job failed: its scores are missing data.

        Raises:
            InputError: If the job was never handed out, or has scores.
        """
        self._record(Result.failed(self.job(job_id), reason, "told"))

    def retry(self, job_id: str) -> None:
        """Hand out a failed job again, with the same seed.

        Raises:
            InputError: If the job was never handed out, or has not failed.
        """
        with self._ledger.writing() as contents:
            if contents.entry(job_id).state != "failed":
                raise InputError(
                    f"Expected a job that failed, but {job_id!r} is "
                    f"{contents.entry(job_id).state}.",
                    "not-failed",
                )
            self._ledger.append(Released(id=job_id))

    def add(self, runs: pd.DataFrame) -> int:
        """Add runs from before the study; they do not count as its trainings.

        Args:
            runs: One row per run and task with the columns run, task and score, and seed if it
                is known. The tasks of a run are those that were trained together. A NaN score
                means that the task was trained and its score is not known.

        Returns:
            How many runs were added; those that were added before are skipped.

        Raises:
            InputError: If a column is missing, a task is unknown, or a run was added before with
                other scores.
        """
        events = read_past_runs(runs, tuple(self.tasks))
        with self._ledger.writing() as contents:
            new: list[Added] = []
            for event in events:
                entry = contents.entries.get(event.job.id)
                if entry is None:
                    new.append(event)
                elif entry.result is None or entry.result.validation != event.validation:
                    raise _told_twice(event.job.id)
            if new:
                self._ledger.append(*new)
        return len(new)

    def run(
        self,
        train: Callable[..., object] | Trainer,
        workers: int | None = None,
        executor: Executor | None = None,
        retries: int = 1,
        observe: Callable[[Job | Result], object] | None = None,
    ) -> StudyStatus:
        """Run trainings until the answer is found or no more are allowed.

        Each result is recorded as it comes, so that Ctrl-C or a crash loses only what is running.

        Args:
            train: ``train(tasks, seed)``, which returns a score for each task or `Scores`; or a
                trainer such as `CommandTrainer`.
            workers: Number of trainings at a time; 1 runs them in this process.
            executor: Where they run: any `concurrent.futures.Executor`, of Dask, Ray or submitit
                for example.
            retries: How often a training that raised an exception or died is run again, with the
                same seed, before it stays missing.
            observe: Called with each job when it is handed out, and with each result when it is
                recorded.

        Raises:
            InputError: If the first trainings all fail.
        """
        self._run(self._trainer(train, workers, executor), retries, observe)
        return self.status()

    def audit(
        self,
        train: Callable[..., object] | Trainer | None = None,
        replicates: int = 5,
        workers: int | None = None,
        executor: Executor | None = None,
        baselines: Sequence[str] | None = None,
        *,
        plan: Plan | None = None,
        retries: int = 1,
        observe: Callable[[Job | Result], object] | None = None,
    ) -> Audit:
        """Evaluate the plan and its baselines with new trainings.

        Its seeds differ from those of all deciding trainings, and its trainings do not count as
        trainings of the study. The same call continues an audit that was stopped.

        Args:
            train: As in `run`. Without it, the audit's jobs wait for `ask`, and the same call
                returns the audit when all have results.
            replicates: Number of replicates; intervals need two.
            workers: As in `run`.
            executor: As in `run`.
            baselines: Optional baselines (`affinity.audit.audit_plan`).
            plan: The plan to evaluate; if None, that of an unfinished audit, or the study's.
            retries: As in `run`.
            observe: As in `run`.

        Raises:
            InputError: If there is neither a result nor a prior, the audit has jobs without a
                result and there is no function to run them, or all trainings of the plan or of
                separate networks failed.
        """
        if replicates < 1:
            raise InputError(
                f"Expected at least one replicate, but got {replicates}.", "no-replicates"
            )
        trainer = None if train is None else self._trainer(train, workers, executor)
        with self._ledger.reading() as contents:
            started = unfinished_plan(contents, self.tasks)
        accepts = frozenset[str]() if trainer is None else trainer.accepts
        self._plan_audit(plan or started or self.plan(), replicates, baselines, accepts)
        if trainer is not None:
            self._run(trainer, retries, observe, "judge")
        matrix = next((each for each in self._prior if set(each.tasks) == set(self.tasks)), None)
        answer = self.answer() if self._prior or self.state().results else None
        with self._ledger.reading() as contents:
            assert contents.created is not None
            return finished_audit(
                contents,
                self.tasks,
                name=self.folder.name or str(self.folder),
                tolerance=contents.created.tolerance,
                matrix=matrix,
                context=AuditContext(
                    seed=contents.created.seed,
                    budget=contents.created.budget,
                    race=() if answer is None else answer.candidates,
                ),
            )

    def _plan_audit(
        self,
        plan: Plan,
        replicates: int,
        baselines: Sequence[str] | None,
        accepts: frozenset[str],
    ) -> None:
        """Write an audit and its jobs to the ledger, unless it already contains them."""
        with self._ledger.writing() as contents:
            audit, jobs = next_audit(contents, plan, replicates, baselines, accepts, self.tasks)
            first = 1 + sum(not entry.is_past for entry in contents.entries.values())
            planned = [
                Planned(job=replace(job, id=f"{self._created.study}-{number}"), why="an audit")
                for number, job in enumerate(jobs, start=first)
            ]
            if planned or contents.audit is None or contents.audit.plan != audit.plan:
                self._ledger.append(audit, *planned)

    def _run(
        self,
        trainer: Trainer,
        retries: int,
        observe: Callable[[Job | Result], object] | None,
        purpose: Purpose | None = None,
    ) -> None:
        """Run all jobs, or those of one purpose, with a trainer."""
        streams = isinstance(trainer, FunctionTrainer | CommandTrainer)
        with self._ledger.runner(secrets.token_hex(4)) as runner:
            self._recover()
            try:
                while batch := self._hand_out(1 if streams else None, runner, purpose):
                    jobs = self._stream(batch, runner, purpose) if streams else iter(batch)
                    jobs = map(_observed(observe), jobs)
                    with closing(_generator(trainer, jobs)) as results:
                        for result in results:
                            self._record(result, retries)
                            if observe is not None:
                                observe(result)
                            self._check_progress(purpose)
            finally:
                self._release(runner)

    def _trainer(
        self, train: Callable[..., object] | Trainer, workers: int | None, executor: Executor | None
    ) -> Trainer:
        folder = (self.folder / TRAININGS).absolute()
        if not isinstance(train, Trainer):
            return FunctionTrainer(train, workers, executor, folder=folder)
        if workers is not None or executor is not None:
            raise InputError(
                "Expected workers and executor to be set in the trainer, not in run.",
                "trainer-has-workers",
            )
        if isinstance(train, FunctionTrainer | CommandTrainer) and train.folder is None:
            return replace(train, folder=folder)
        return train

    def _stream(self, first: list[Job], runner: str, purpose: Purpose | None) -> Iterator[Job]:
        jobs = first
        while jobs:
            yield from jobs
            jobs = self._hand_out(1, runner, purpose)

    def _hand_out(
        self, n: int | None, runner: str | None, purpose: Purpose | None = None
    ) -> list[Job]:
        """Plan jobs if fewer than `n` wait, and mark `n` of them as running; all if None."""
        with FileLock(self.folder / _DECIDING):
            with self._ledger.reading() as contents:
                ready = self._ready(contents, purpose)
                state = self._state(contents)
            if purpose != "judge" and len(ready) < (n or 1):
                planned = next_jobs(state)
                while planned:
                    self._plan_jobs(planned)
                    with self._ledger.reading() as contents:
                        ready = self._ready(contents)
                        state = self._state(contents)
                    planned = next_jobs(state) if n is not None and len(ready) < n else []
            with self._ledger.writing() as contents:
                jobs = [entry.job for entry in self._ready(contents, purpose)[:n]]
                if jobs:
                    self._ledger.append(*(Started(id=job.id, runner=runner) for job in jobs))
        return jobs

    def _ready(self, contents: Contents, purpose: Purpose | None = None) -> list[Entry]:
        """Jobs that can be handed out, those of a process that died first."""
        by_state: dict[State, list[Entry]] = {"stale": [], "waiting": []}
        for entry in contents.entries.values():
            state = self._ledger.state_of(entry) if entry.state == "running" else entry.state
            if state in by_state and purpose in (None, entry.job.purpose):
                by_state[state].append(entry)
        return [*by_state["stale"], *by_state["waiting"]]

    def _plan_jobs(self, planned: Sequence[NextJob]) -> None:
        with self._ledger.writing() as contents:
            assert contents.created is not None
            first = 1 + sum(not entry.is_past for entry in contents.entries.values())
            self._ledger.append(
                *(
                    Planned(
                        job=Job(f"{contents.created.study}-{number}", job.tasks, job.seed),
                        why=job.why,
                    )
                    for number, job in enumerate(planned, start=first)
                )
            )

    def _state(self, contents: Contents) -> StudyState:
        assert contents.created is not None
        deciding = [e for e in contents.entries.values() if e.job.purpose == "decide"]
        return StudyState(
            tasks=self.tasks,
            budget=contents.created.budget,
            results=tuple(e.result for e in deciding if e.is_done and e.result is not None),
            pending=tuple(e.job for e in deciding if e.state in ("waiting", "running")),
            failed=tuple(e.job for e in deciding if e.state == "failed"),
            trainings_left=contents.trainings - sum(not e.is_past for e in deciding),
            prior=self._prior,
            tolerance=contents.created.tolerance,
            seed=contents.created.seed,
        )

    def _record(self, result: Result, retries: int = 0) -> None:
        """Write a result to the ledger."""
        job = result.job
        with self._ledger.writing() as contents:
            entry = contents.entry(job.id)
            if entry.is_done:
                if entry.result is not None and _is_equal(entry.result, result):
                    return
                raise _told_twice(job.id)
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

    def _check_progress(self, purpose: Purpose | None = None) -> None:
        """Stop when the first trainings all fail: further ones would probably fail, too."""
        with self._ledger.reading() as contents:
            own = [
                entry
                for entry in contents.entries.values()
                if not entry.is_past and purpose in (None, entry.job.purpose)
            ]
            failed = [entry for entry in own if entry.state == "failed"]
            if len(failed) < _FAILURES or any(entry.is_done for entry in own):
                return
            reason = failed[-1].result
        raise InputError(
            f"Expected trainings that succeed, but the first {len(failed)} all failed; the last "
            f"one because of: {reason.error if reason else ''} Fix the cause, call "
            "retry(job_id) for them, and run again.",
            "all-trainings-failed",
        )

    def _recover(self) -> None:
        """Record the scores that jobs wrote before the process that ran them died."""
        with self._ledger.reading() as contents:
            stale = [
                e.job for e in contents.entries.values() if self._ledger.state_of(e) == "stale"
            ]
        for job in stale:
            path = self.folder / TRAININGS / job.id / SCORES
            try:
                scores = read_scores(job, path.read_text(encoding="utf-8"), str(path))
                result = Result.of(job, scores)
            except (OSError, UnicodeDecodeError, InputError):
                continue
            self._record(result)

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

    def state(self) -> StudyState:
        """The current state: the results, the jobs without a result, and the settings."""
        with self._ledger.reading() as contents:
            return self._state(contents)

    def answer(self) -> Answer:
        """The best grouping so far with its probability, and the questions that remain open.

        Raises:
            InputError: If there is neither a result nor a prior.
        """
        state = self.state()
        known = len(state.results) + len(state.failed)
        if self._answer is None or self._answer[0] != known:
            self._answer = (known, current_answer(state))
        return self._answer[1]

    def plan(self) -> Plan:
        """The best grouping so far as a plan, with measured gains as reasons.

        Its provenance lists the questions that the results leave open.

        Raises:
            InputError: If there is neither a result nor a prior.
        """
        answer, state = self.answer(), self.state()
        networks = answer.plan.grouping.networks
        seeds = {result.job.seed for result in state.results}
        plan, is_measured = answer.plan, not isnan(answer.plan.gain)
        ended = "the best grouping was found" if answer.is_decided else "no clear winner yet"
        provenance = PlanProvenance(
            evidence=f"measured: {count(len(state.results), 'training')} on "
            f"{count(len(seeds), 'seed')}; {ended}",
            expected_gain=(_rounded(plan.gain), _rounded(plan.low), _rounded(plan.high))
            if is_measured
            else None,
            probability=round(plan.probability, 3) if is_measured else None,
            budget=state.budget,
            unit=self._unit if is_measured else None,
            unknown=answer.unknown or None,
        )
        return Plan(
            grouping=answer.plan.grouping,
            sharing=tuple("separate" if network.is_alone else "hard" for network in networks),
            reasons=tuple(self._reason(state, network) for network in networks),
            provenance=provenance,
        )

    @property
    def _unit(self) -> str:
        """What the overall gain is counted in."""
        scores = self.tasks.values()
        if any(score.unit is not None for score in scores):
            return f"{MATTERS} is one difference that matters"
        if all(score.is_relative for score in scores):
            return "fraction of the single-task score"
        if any(score.is_relative for score in scores):
            return "fraction of the single-task score, or difference of scores"
        return "difference of scores"

    def _reason(self, state: StudyState, network: Network) -> str:
        if network.is_alone:
            return "No group was found in which this task and its partners gain enough."
        gains = measured_gains(state, network.trained)
        if not gains:
            return "Proposed by the prior or predicted from other groups; not measured."
        texts = [f"{task} {state.tasks[task].format(gain)}" for task, (gain, _) in gains.items()]
        most = max(trainings for _, trainings in gains.values())
        return (
            f"Measured gains over single-task training ({count(most, 'training')}): "
            f"{', '.join(texts)}."
        )

    def status(self) -> StudyStatus:
        """The progress of the study."""
        with self._ledger.reading() as contents:
            entries = list(contents.entries.values())
            trainings = contents.trainings
        own = [e for e in entries if e.job.purpose == "decide" and not e.is_past]
        judging = [entry for entry in entries if entry.job.purpose == "judge"]
        states = Counter(self._ledger.state_of(entry) for entry in own)
        seconds = [e.result.seconds for e in own if e.result is not None and e.result.seconds]
        return StudyStatus(
            trainings=trainings,
            waiting=states["waiting"],
            running=states["running"],
            done=states["done"],
            failed=states["failed"],
            stale=states["stale"],
            past=sum(entry.is_past for entry in entries),
            judging=len(judging),
            judged=sum(entry.state in ("done", "failed") for entry in judging),
            seconds=sum(seconds, 0.0),
            last_seconds=seconds[-1] if seconds else None,
            reasons={
                entry.job.id: entry.result.error
                for entry in own
                if entry.state == "failed" and entry.result and entry.result.error
            },
        )

    def frame(self) -> pd.DataFrame:
        """One row per job and task: its state, and the scores where they are known."""
        with self._ledger.reading() as contents:
            entries = list(contents.entries.values())
        rows = [row for entry in entries for row in self._rows(entry)]
        return pd.DataFrame(rows, columns=list(_COLUMNS))

    def _rows(self, entry: Entry) -> Iterator[tuple[object, ...]]:
        job, state = entry.job, self._ledger.state_of(entry)
        result = entry.result or Result(job)
        for task in job.names:
            validation, test = (
                (part or {}).get(task, nan) for part in (result.validation, result.test)
            )
            seconds = nan if result.seconds is None else result.seconds
            yield (
                job.id,
                job.purpose,
                state,
                " + ".join(job.names),
                job.seed,
                task,
                validation,
                test,
                seconds,
                entry.why,
                result.error,
            )


def _checked_tasks(tasks: Mapping[str, Score | str]) -> dict[str, Score]:
    names = check_names(tasks)
    if len(names) < 2:
        raise InputError(f"Expected at least 2 tasks, but got {list(names)}.", "too-few-tasks")
    return {name: Score.of(tasks[name]) for name in names}


def _matrix(prior: AffinityMatrix | Trace) -> AffinityMatrix:
    if isinstance(prior, AffinityMatrix):
        return prior
    if prior.lookahead_losses is not None or prior.held_out_lookahead_losses is not None:
        return InterTaskAffinity()(prior)
    return GradientCosine()(prior)


def _check_prior(matrices: Sequence[AffinityMatrix], tasks: tuple[str, ...]) -> None:
    for matrix in matrices:
        if missing := [task for task in tasks if task not in matrix.tasks]:
            raise InputError(
                f"Expected a prior with the tasks {list(tasks)}, but one has "
                f"{list(matrix.tasks)}: {missing} are missing.",
                "unknown-task",
            )


def _digest(matrix: AffinityMatrix) -> str:
    """The estimator and a hash of names and values."""
    order = sorted(range(len(matrix.tasks)), key=matrix.tasks.__getitem__)
    values = matrix.values.double()[order][:, order].numpy()
    text = repr([sorted(matrix.tasks), np.round(values, 6).tolist()])
    return f"{matrix.estimator or ''}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _rounded(gain: float) -> float:
    """To four digits; 0 without a sign."""
    return round(gain, 4) + 0.0


def _told(result: Result) -> Told:
    return Told(
        id=result.job.id,
        validation=None if result.validation is None else dict(result.validation),
        test=None if result.test is None else dict(result.test),
        rows=None if result.rows is None else dict(result.rows),
        parameters=result.parameters,
        seconds=result.seconds,
    )


def _is_equal(a: Result, b: Result) -> bool:
    return (a.validation, a.test) == (b.validation, b.test)


def _told_twice(job_id: str) -> InputError:
    return InputError(
        f"Expected the scores that job {job_id!r} already has, but got others (or a failure). "
        "Recorded results cannot be changed.",
        "told-twice",
    )


def _observed(observe: Callable[[Job | Result], object] | None) -> Callable[[Job], Job]:
    """A function that shows a job to the observer and returns it."""

    def show(job: Job) -> Job:
        if observe is not None:
            observe(job)
        return job

    return show


def _generator(trainer: Trainer, jobs: Iterator[Job]) -> "_Results":
    return _Results(trainer(jobs))


class _Results:
    """The trainer's results as a generator that can be closed."""

    def __init__(self, results: Iterator[Result]) -> None:
        self._results = results

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def close(self) -> None:
        close = getattr(self._results, "close", None)
        if close is not None:
            close()


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {_shown(score)}" for name, score in value.items()) + "}"
    if isinstance(value, Score):
        default = Score(value.direction)
        return repr(value.direction) if value == default else repr(value)
    return repr(value)
