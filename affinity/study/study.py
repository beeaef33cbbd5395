"""A study: which tasks should share a network, found with trainings that you run."""

import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from affinity.audit import CAUSES, Audit, AuditContext, Diagnosis, diagnose_plan
from affinity.audit.causes import Cause
from affinity.audit.trainings import FIRST_SEED
from affinity.errors import InputError, check_known, check_number, check_same, check_whole_number
from affinity.estimates import AffinityMatrix
from affinity.files import write_atomically
from affinity.reading.source import to_pandas
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.sharing import MERGED
from affinity.storage import load_as, save
from affinity.tasks import Score
from affinity.training import CommandTrainer, FunctionTrainer, Job, Result, Trainer
from affinity.training.protocol import check_accepted, check_settings
from affinity.training.scheduling import JobExecutor

from .deciding import Answer, StudyState, current_answer
from .history import PastAnswer, append_history, list_candidates, points_to_show, read_history
from .judging import (
    are_same,
    finished_audit,
    is_finished,
    jobs_of_audit,
    next_audit,
    unfinished_plan,
)
from .ledger import VERSION, Added, Created, Extended, Ledger, Released
from .past_runs import read_past_runs
from .proposal import propose_plan
from .queue import TRAININGS, JobQueue, Observer, QueuedTrainer, told_twice, without_id
from .settings import check_prior, check_tasks, describe, digest, read_priors
from .status import StudyStatus, frame_of, status_of

TRACE = "trace.safetensors"  # the recorded run that was given as prior, inside a study's folder


class Study:
    """Decides which tasks share a network, with trainings that you run.

    Everything is kept in a folder, and each result is on the disk before the next step: the same
    call continues the study, even after it was killed. Any number of threads and processes
    may use the folder at the same time.

    Args:
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
        merging: Ways to merge networks of single tasks that are compared with joint training in
            each group of tasks: "averaged", "added" (`affinity.transfer.merge_adapters`). They
            are jobs with that `sharing`, and do not count as trainings.

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
        prior: AffinityMatrix | Trace | Sequence[AffinityMatrix | Trace] = (),
        tolerance: float | None = None,
        seed: int | None = None,
        merging: Sequence[str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._ledger = Ledger(folder)
        scores = None if tasks is None else check_tasks(tasks)
        priors = (prior,) if isinstance(prior, AffinityMatrix | Trace) else tuple(prior)
        matrices = read_priors(priors)
        if budget is not None:
            check_whole_number("budget", budget, 1, "budget-too-small")
        if trainings is not None:
            check_whole_number("trainings", trainings, 2, "too-few-trainings")
        if seed is not None:
            check_whole_number("seed", seed, 0, "negative-seed")
            check_number("seed", seed, below=2**31)
        check_known("merging", merging or (), MERGED, "unknown-sharing")
        check_number("the tolerance", tolerance, "invalid-tolerance", least=0)
        if not self._ledger.exists():
            if scores is None or budget is None or trainings is None:
                raise InputError(
                    f"Expected a study in {str(self.folder)!r}, but there is none. To make one, "
                    "give tasks, budget and trainings (affinity study create).",
                    "no-study",
                )
            check_prior(matrices, tuple(scores))
            for number, matrix in enumerate(matrices, start=1):
                write_atomically(self._prior_path(number), matrix.frame().to_csv(index=False))
            for trace in priors:
                if isinstance(trace, Trace) and set(trace.tasks) == set(scores):
                    save(trace, self.folder / TRACE)
                    break
            self._create(
                Created(
                    version=VERSION,
                    study=secrets.token_hex(2),
                    tasks=scores,
                    budget=int(budget),
                    trainings=int(trainings),
                    tolerance=0.01 if tolerance is None else float(tolerance),
                    seed=int(seed or 0),
                    prior=list(map(digest, matrices)),
                    merging=list(merging or ()),
                )
            )
        self._check_same(
            {
                "tasks": scores,
                "budget": budget,
                "trainings": trainings,
                "prior": list(map(digest, matrices)) or None,
                "tolerance": tolerance,
                "seed": seed,
                "merging": None if merging is None else list(merging),
            }
        )
        self.tasks = self._created.tasks  # the score of each task
        self._prior = matrices or self._read_prior()
        self._queue = JobQueue(self._ledger, self.tasks, self._prior)
        self._answer: tuple[tuple[int, int], Answer] | None = None

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
            f"{name} is {describe(kept[name])} there and {describe(value)} here"
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

    @property
    def trace(self) -> Trace | None:
        """The first recorded run of the study's tasks that was given as prior."""
        path = self.folder / TRACE
        return load_as(Trace, path) if path.exists() else None

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
        check_whole_number("trainings", trainings, 2, "too-few-trainings")
        with self._ledger.writing() as contents:
            before = contents.trainings
            check_number("trainings", trainings, "too-few-trainings", above=before)
            self._ledger.append(Extended(trainings=trainings))

    def ask(self, n: int = 1) -> list[Job]:
        """The next useful trainings, at most `n`; run them anywhere, and `tell` their scores.

        Fewer than `n` come back if no more trainings are allowed, the best grouping is found, or
        results are needed before more can be decided. Jobs of a run that died come first.

        Raises:
            InputError: If `n` is below 1.
        """
        check_whole_number("n", n, 1, "no-jobs")
        return self._queue.hand_out(n, None)

    def tell(self, job_id: str, scores: object, seconds: float | int | None = None) -> None:
        """Record the scores of a job.

        Args:
            scores: A score for each of its tasks, or `Scores`.

        Raises:
            InputError: If the job was never handed out, the scores are invalid, or the job already
                has other scores; the same scores may be recorded again.
        """
        job = self.job(job_id)
        self._queue.record(Result.of(job, scores, seconds))

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
        self._queue.record(Result.failed(self.job(job_id), reason, "told"))

    def retry(self, job_id: str) -> None:
        """Hand out a failed job again, with the same seed.

        Raises:
            InputError: If the job was never handed out, or has not failed.
        """
        with self._ledger.writing() as contents:
            state = contents.entry(job_id).state
            check_same(f"the state of job {job_id!r}", state, "failed", "not-failed")
            self._ledger.append(Released(id=job_id))

    def add(self, runs: Any) -> int:
        """Add runs from before the study; they do not count as its trainings.

        Args:
            runs: A frame of pandas, polars or Arrow, or a mapping of columns: one row per run and
                task with the columns run, task and score, and seed if it is known. The tasks of a
                run are those that were trained together. A NaN score means that the task was
                trained and its score is not known.

        Returns:
            How many runs were added; those that were added before are skipped.

        Raises:
            InputError: If it is no table, a column is missing, a task is unknown, or a run was
                added before with other scores.
        """
        events = read_past_runs(to_pandas(runs), tuple(self.tasks))
        with self._ledger.writing() as contents:
            new: list[Added] = []
            for event in events:
                entry = contents.entries.get(event.job.id)
                if entry is None:
                    new.append(event)
                elif entry.result is None or entry.result.validation != event.validation:
                    raise told_twice(event.job.id)
            if new:
                self._ledger.append(*new)
        return len(new)

    def run(
        self,
        train: Callable[..., object] | Trainer,
        workers: int | None = None,
        executor: JobExecutor | None = None,
        retries: int = 1,
        observe: Observer | None = None,
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
        self._queue.run(self._trainer(train, workers, executor), retries, observe)
        return self.status()

    def audit(
        self,
        train: Callable[..., object] | Trainer | None = None,
        replicates: int = 5,
        workers: int | None = None,
        executor: JobExecutor | None = None,
        baselines: Sequence[str] | None = None,
        *,
        plan: Plan | None = None,
        retries: int = 1,
        observe: Observer | None = None,
        settings: Collection[str] = (),
    ) -> Audit:
        """Evaluate the plan and its baselines with new trainings, and decide.

        Its seeds differ from those of all deciding trainings, and its trainings do not count as
        trainings of the study. The same call continues an audit that was stopped.

        If another candidate is advised (`Audit.advice`), it becomes the plan, here and in `plan`
        (`Audit.decide`). A plan that you give is judged itself.

        Args:
            train: As in `run`, like the arguments that are not described. Without it, the audit's
                jobs wait for `ask`, and the same call returns the audit when all have results.
            replicates: Number of replicates; intervals need two.
            baselines: Optional baselines (`affinity.audit.audit_plan`).
            plan: The plan to evaluate; if None, the study's, or the one of an unfinished audit of
                an earlier plan of the study.
            settings: Without `train`: the settings among `affinity.training.protocol.SETTINGS` that
                your trainings can apply. Only jobs with these (`Job.settings`) are planned.

        Raises:
            InputError: If there is neither a result nor a prior, the audit has jobs without a
                result and there is no function to run them, or all trainings of the plan or of
                separate networks failed.
        """
        check_whole_number("replicates", replicates, 1, "no-replicates")
        if plan is not None and not isinstance(plan, Plan):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"Expected an affinity.Plan, but got {plan!r}. Plan.all_in_one(tasks) and "
                "Plan.separate(tasks) make plans; Plan.from_yaml reads one.",
                "not-a-plan",
            )
        trainer, accepts = self._trainer_of(train, workers, executor, settings)
        with self._ledger.reading() as contents:
            judged = plan or self.proposal()
            is_given = plan is not None
            audit = next_audit(contents, judged, replicates, baselines, accepts, is_given)
        jobs = jobs_of_audit(audit, self.tasks)
        self._queue.plan([(job, "an audit") for job in jobs], audit)
        if trainer is not None:
            self._queue.run(trainer, retries, observe, set(map(without_id, jobs)))
        return self._audit()

    def diagnose(
        self,
        train: Callable[..., object] | Trainer | None = None,
        replicates: int = 6,
        workers: int | None = None,
        executor: JobExecutor | None = None,
        *,
        plan: Plan | None = None,
        causes: Mapping[str, Cause] = CAUSES,
        trace: Trace | None = None,
        retries: int = 1,
        observe: Observer | None = None,
        settings: Collection[str] = (),
    ) -> Diagnosis:
        """Find out why sharing harms, by changing one thing at a time (`diagnose_plan`).

        Only changes are tried that the trainer accepts: ``train(tasks, seed, width=1.0)`` takes
        another width, and likewise ``length``, ``rows``, ``sharing``; a command takes those whose
        placeholders it has. Trainings are kept in the study and counted with those of audits; the
        same call continues a diagnosis that was stopped.

        Args:
            train: As in `run`, like the arguments that are not described. Without it, the
                trainings wait for `ask`, and the same call returns the diagnosis when all have
                results. It plans them in about three steps: later ones follow from earlier results.
            replicates: Number of replicates; intervals need two.
            plan: The plan to explain; one network for all tasks if None. If it is not the
                study's, the study's plan is tried as a way to share less.
            causes: The causes to measure (`affinity.audit.CAUSES`).
            trace: A recorded run of all tasks in one network, for the conflicts of gradients; the
                study's own (`trace`) if None.
            settings: Without `train`: what your trainings can change, such as ``("width",)``, as in
                `audit`.

        Raises:
            InputError: If the plan does not serve the tasks, the first trainings all fail, or there
                are trainings without a result and no function to run them.
        """
        trainer, accepts = self._trainer_of(train, workers, executor, settings)
        explained = Plan.all_in_one(tuple(self.tasks)) if plan is None else plan
        instead = self.plan() if self._has_answer else None
        if instead is not None and are_same(instead, explained):
            instead = None
        diagnose = partial(
            diagnose_plan,
            explained,
            QueuedTrainer(self._queue, trainer, accepts, retries, observe),
            self.tasks,
            replicates,
            seed=FIRST_SEED + self._created.seed,
            instead=instead,
            retries=0,
            name=self.folder.name or str(self.folder),
            trace=trace or self.trace,
            context=AuditContext(seed=self._created.seed, budget=self._created.budget),
        )
        if trainer is None:  # each cause plans its trainings, even if those of another one wait
            for name, cause in causes.items():
                try:
                    diagnose(causes={name: cause})
                except InputError as error:
                    if error.code != "diagnosis-unfinished":
                        raise
        return diagnose(causes=causes)

    def latest_audit(self) -> Audit | None:
        """The latest audit, if it has ended: all its trainings have results or have failed."""
        with self._ledger.reading() as contents:
            if not is_finished(contents, self.tasks):
                return None
        try:
            return self._audit()
        except InputError as error:
            if error.code != "all-trainings-failed":
                raise
            return None

    def _audit(self) -> Audit:
        matrix = next((each for each in self._prior if set(each.tasks) == set(self.tasks)), None)
        answer = self.answer() if self._has_answer else None
        with self._ledger.reading() as contents:
            assert contents.created is not None
            assert contents.audit is not None
            judged = Plan.from_yaml(contents.audit.plan).grouping
            is_answer = answer is not None and set(answer.plan.grouping.networks) == set(
                judged.networks
            )
            return finished_audit(
                contents,
                self.tasks,
                name=self.folder.name or str(self.folder),
                tolerance=contents.created.tolerance,
                matrix=matrix,
                context=AuditContext(
                    seed=contents.created.seed,
                    budget=contents.created.budget,
                    race=answer.candidates if answer is not None and is_answer else (),
                ),
            )

    def _trainer_of(
        self,
        train: Callable[..., object] | Trainer | None,
        workers: int | None,
        executor: JobExecutor | None,
        settings: Collection[str],
    ) -> tuple[Trainer | None, frozenset[str]]:
        """The trainer, if there is one, and the settings that jobs may have."""
        if train is None:
            return None, check_settings(settings)
        if settings:
            raise InputError(
                "Expected settings only without a function: its arguments say which it takes. "
                "FunctionTrainer(train, settings=...) and CommandTrainer(..., settings=...) name "
                "others.",
                "trainer-has-settings",
            )
        trainer = self._trainer(train, workers, executor)
        return trainer, trainer.accepts

    def _trainer(
        self,
        train: Callable[..., object] | Trainer,
        workers: int | None,
        executor: JobExecutor | None,
    ) -> Trainer:
        folder = (self.folder / TRAININGS).absolute()
        if not isinstance(train, Trainer):
            train = FunctionTrainer(train, workers, executor, folder=folder)
        elif workers is not None or executor is not None:
            raise InputError(
                "Expected workers and executor to be set in the trainer, not in run.",
                "trainer-has-workers",
            )
        elif isinstance(train, FunctionTrainer | CommandTrainer) and train.folder is None:
            train = replace(train, folder=folder)
        merged = (Job(way, frozenset(self.tasks), 0, sharing=way) for way in self._created.merging)
        check_accepted(train, merged)
        return train

    @property
    def _has_answer(self) -> bool:
        return bool(self._prior or self.state().results)

    def state(self) -> StudyState:
        """The current state: the results, the jobs without a result, and the settings."""
        return self._queue.state()

    def answer(self) -> Answer:
        """The best grouping so far with its probability, and the questions that remain open.

        Raises:
            InputError: If there is neither a result nor a prior.
        """
        state = self.state()
        ended = (state.n_ended, state.n_failed)
        if self._answer is None or self._answer[0] != ended:
            self._answer = (ended, current_answer(state))
        return self._answer[1]

    def history(self, seconds: float = 1.0) -> tuple[PastAnswer, ...]:
        """The candidates and their probabilities after earlier trainings, the earliest first.

        Each is computed once and kept in the folder, from the results that there were by then;
        once more if a training that had failed got scores.

        Args:
            seconds: No more is computed after this time; the next call goes on.
        """
        began, answers = time.monotonic(), read_history(self.folder)
        state = self.state()
        points = points_to_show(state.n_ended)
        new: list[PastAnswer] = []
        for ended in points:
            then = self._queue.state(ended)
            if ended in answers and answers[ended].failed == then.n_failed:
                continue
            if time.monotonic() - began > seconds:
                break
            try:
                is_latest = ended == points[0]
                answer = self.answer() if is_latest else current_answer(then)
            except InputError as error:
                if error.code != "no-results":
                    raise
                break
            new.append(PastAnswer(ended, list_candidates(answer), then.n_failed))
        if new:
            append_history(self.folder, new)
        answers |= {answer.ended: answer for answer in new}
        return tuple(answers[ended] for ended in reversed(points) if ended in answers)

    def plan(self) -> Plan:
        """The best grouping so far as a plan, with measured gains as reasons.

        Its provenance lists the questions that the results leave open. If the plan was audited, it
        is the one that the audit advises.

        Raises:
            InputError: If there is neither a result nor a prior.
        """
        audit = self.decision()
        return self.proposal() if audit is None else audit.plan

    def decision(self) -> Audit | None:
        """The audit of the current best grouping, if it has ended; its plan is the study's.

        None if the latest audit judged a plan that you gave, or if later trainings changed which
        grouping is best.

        Raises:
            InputError: If there is neither a result nor a prior.
        """
        with self._ledger.reading() as contents:
            audit = contents.audit
        if audit is None or audit.is_given:
            return None
        if not are_same(Plan.from_yaml(audit.plan), self.proposal()):
            return None
        return self.latest_audit()

    def proposal(self) -> Plan:
        """The plan that an audit judges: the best grouping by the trainings that decide.

        While an audit of an earlier proposal has not ended, it is that proposal.

        Raises:
            InputError: If there is neither a result nor a prior.
        """
        with self._ledger.reading() as contents:
            unfinished = unfinished_plan(contents, self.tasks)
        return unfinished or propose_plan(self.state(), self.answer())

    def status(self) -> StudyStatus:
        """The progress of the study."""
        with self._ledger.reading() as contents:
            return status_of(contents, self._ledger.state_of)

    def frame(self) -> pd.DataFrame:
        """One row per job and task: its state, and the scores where they are known."""
        with self._ledger.reading() as contents:
            return frame_of(contents, self._ledger.state_of)
