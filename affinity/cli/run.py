"""Run: a folder being worked on, with its settings, its data and its results so far."""

import math
import os
import shlex
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape

from affinity.audit import Audit, Diagnosis, ObjectiveComparison, RaceResult, RepeatedHoldout
from affinity.audit.candidates import LISTED
from affinity.audit.time_plan import (
    REPORT_SECONDS,
    SHARING,
    Baselines,
    RequestedWork,
    TimePlan,
    Workload,
    enough_minutes,
    measure_slowness,
    pace_of,
    plan_time,
    plan_trainings,
    with_fitting_length,
    with_usual_epochs,
)
from affinity.errors import DivergenceError, InputError, check_choice
from affinity.estimates import ESTIMATORS, AffinityMatrix
from affinity.problems import Problem
from affinity.problems.record import steps_between_measurements
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.sharing import SHARINGS
from affinity.storage import load_as
from affinity.words import shorten

from .console import Stopped, warnings_as_notes
from .early_checks import check_budget, known_tasks
from .options import RunSettings, inherited_settings
from .run_directory import (
    AFFINITY,
    DIAGNOSIS,
    HOLDOUT,
    MEASUREMENTS,
    OBJECTIVES,
    PLAN,
    RACE,
    TRACE,
    RunDirectory,
    RunRecord,
)
from .source import BUILT_IN, read_problem
from .stopwatch import Stopwatch
from .summary import print_time_plan, show_problem

REFERENCE_SECONDS = 60.0  # planned for the reference; it also gets what trainings leave
USUAL_MINUTES = 10.0  # time limit of an audit whose options do not ask for a longer one
_RECORDING_SHARE = 0.3  # of the time that is left
_CERTAIN = 0.3  # share of the limit below which even a slow machine keeps it


@dataclass(eq=False)
class Run:
    """A run whose lock is held. Results are read from its files once, unless a stage made them."""

    directory: RunDirectory
    settings: RunSettings
    console: Console
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    is_continued: bool = False  # with the time plan that it has

    @cached_property
    def problem(self) -> Problem:
        """The tasks and rows, with the rows, epochs and batches of the time plan."""
        plan, problem = self.time_plan, self.problem_as_set
        return problem if plan is None else plan.applied_to(problem)

    @property
    def problem_to_record(self) -> Problem:
        """The same with the epochs of the recorded run."""
        plan, settings = self.time_plan, self.problem.settings
        epochs = settings.epochs if plan is None else plan.recorded_epochs or settings.epochs
        return self.problem.with_settings(replace(settings, epochs=epochs))

    @cached_property
    def problem_as_set(self) -> Problem:
        """The tasks and rows without a time limit, the same as when the run was recorded."""
        problem = read_problem(self.settings)
        expected = self.directory.record.fingerprint
        if fingerprint_of(problem) != expected:
            raise InputError(
                f"The data in {self.settings.source!r} have changed since the run "
                f"{str(self.directory.path)!r} was recorded (fingerprint {expected} then, "
                f"{fingerprint_of(problem)} now). Record a new run: affinity record "
                f"{shlex.quote(self.settings.source)} ...",
                "changed-data",
            )
        return problem

    @cached_property
    def trace(self) -> Trace:
        """The recorded trace."""
        self.directory.require("record")
        return Trace.load(self.directory.file(TRACE))

    @cached_property
    def matrix(self) -> AffinityMatrix:
        """The affinities that were estimated."""
        finished = self.directory.require("estimate")
        frame = pd.read_csv(
            self.directory.file(AFFINITY),
            dtype={"source": str, "target": str},
            keep_default_na=False,
            na_values={"affinity": [""], "standard_error": [""]},
        )
        return AffinityMatrix.from_frame(frame, estimator=finished.estimator or "")

    @cached_property
    def audit(self) -> Audit:
        """The audit of the plan."""
        self.directory.require("retrain")
        return Audit.load(self.directory.file(MEASUREMENTS))

    @cached_property
    def race(self) -> RaceResult | None:
        """The race that chose the plan; None if another method did."""
        finished = self.directory.finished("group")
        if finished is None or RACE not in finished.outputs:
            return None
        return load_as(RaceResult, self.directory.file(RACE))

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """The diagnosis; None if there is none, or plan.yaml has changed since."""
        if not self.directory.is_done("diagnose"):
            return None
        plan = self.directory.require("diagnose").inputs.get("plan")
        is_current = plan in (None, self.directory.hash_of(PLAN))
        return load_as(Diagnosis, self.directory.file(DIAGNOSIS)) if is_current else None

    @cached_property
    def objectives(self) -> ObjectiveComparison | None:
        """The comparison of objectives; None if there is none."""
        if not self.directory.is_done("objectives"):
            return None
        return load_as(ObjectiveComparison, self.directory.file(OBJECTIVES))

    @cached_property
    def holdout(self) -> RepeatedHoldout | None:
        """The same audit on other test splits; None if it was not repeated."""
        file = self.directory.file(HOLDOUT)
        holdout = load_as(RepeatedHoldout, file) if file.exists() else None
        is_current = holdout and holdout.audits[0].overall == self.audit.overall
        return holdout if is_current else None

    def budget(self) -> int:
        """The budget of the settings; by affinity alone a third of the tasks and at least two."""
        n_tasks = len(self.problem.tasks)
        budget = self.settings.budget or max(2, -(-n_tasks // 3))
        check_budget(budget, n_tasks)
        return budget

    @property
    def time_plan(self) -> TimePlan | None:
        """What is trained to keep the time limit; None without one."""
        return self.directory.record.time_plan

    def replicates(self) -> int:
        """The replicates of the settings, or of the time plan, or ten, or five of many tasks."""
        plan = self.time_plan
        planned = plan.replicates if plan is not None and plan.is_cut else None
        return self.settings.replicates or planned or self._usual_replicates

    @property
    def _usual_replicates(self) -> int:
        return 10 if len(self.problem.tasks) <= 20 else 5

    def baselines(self) -> Baselines:
        """The baselines of the settings, or of the time plan, or all."""
        planned = "all" if self.time_plan is None else self.time_plan.baselines
        return self.settings.baselines or planned

    @cached_property
    def _work_at_start(self) -> Workload:
        every = self.settings.measure_every or steps_between_measurements(self.problem_as_set)
        return Workload.of(self.problem_as_set, every)

    def workload(self) -> Workload:
        """What trainings take, with the rows, epochs and batches of the time plan."""
        problem = self.problem
        return replace(
            self._work_at_start,
            every=self.settings.measure_every or steps_between_measurements(problem),
            n_training=len(problem.draw(0).training),
            batch_size=problem.settings.batch_size,
            epochs=problem.settings.epochs,
        )

    def requested(self, minutes: float) -> RequestedWork:
        """What the settings ask for, if time allows."""
        settings, names = self.settings, ("replicates", "baselines", "epochs", "batch_size")
        races = settings.plan is None and settings.method in (None, "race")
        return RequestedWork(
            minutes=minutes,
            replicates=settings.replicates or self._usual_replicates,
            baselines=settings.baselines or "all",
            race_seconds=60 * settings.race_minutes if races and not settings.overlap else 0.0,
            reference=min(REFERENCE_SECONDS, 6 * minutes) if settings.reference else 0.0,
            is_chosen=frozenset(n for n in names if getattr(settings, n) is not None),
            can_thin=self.settings.source not in BUILT_IN,
            tries_sharing=settings.sharing is None and settings.plan is None,
        )

    def plan_time(self) -> None:
        """Choose what is trained, print it with the expected time, and keep it in run.json.

        Rows, epochs and batches of a run that is recorded stay as they are.
        """
        minutes = time_limit_of(self.settings)
        requested, before = self.requested(minutes), self.time_plan
        if before is not None:
            self.problem = before.applied_to(self.problem_as_set)
            self.is_continued = before.minutes == minutes
        if self.is_continued:
            return
        work = self._work_at_start
        if before is not None or self.directory.finished("record") is not None:
            plan = before or TimePlan(minutes, requested.replicates, requested.baselines)
            is_cut = plan.used_share < 1 or plan.epochs is not None
            plan, work = replace(plan, minutes=minutes, is_cut=is_cut), self.workload()
            plan = plan_trainings(plan, work, requested, work.expected_steps)
        else:
            plan = plan_time(work, requested)
            if plan.is_cut or plan.required > _CERTAIN * 60 * minutes:
                slowness = measure_slowness(self.problem, work)
                plan = plan_time(work, requested, slowness, self.stopwatch.waiting)
        self._keep(plan)
        print_time_plan(self.console, plan)

    def _keep(self, plan: TimePlan) -> None:
        """Keep a time plan, and apply it."""
        self.directory.keep_time_plan(plan)
        self.problem = plan.applied_to(self.problem_as_set)

    @property
    def is_far_from_limit(self) -> bool:
        """Whether there is no time limit that even a slow machine could miss."""
        plan = self.time_plan
        return plan is None or not (plan.is_cut or plan.required > _CERTAIN * 60 * plan.minutes)

    def seconds_over_limit(self) -> float:
        """Seconds since the end of the time limit; below 0 before."""
        limit = math.inf if self.time_plan is None else 60 * self.time_plan.minutes
        return self.stopwatch.seconds - limit

    def seconds_for_audit(self) -> float | None:
        """Wall time for the audit's trainings; None if replicates are given or time is no issue."""
        plan = self.time_plan
        if plan is None or self.is_far_from_limit or self.settings.replicates is not None:
            return None
        left = 60 * plan.minutes - self.stopwatch.seconds
        return max(0.0, left - plan.seconds["reference"] - REPORT_SECONDS)

    def seconds_for_recording(self) -> float | None:
        """Wall time for the recorded run; None if time is no issue."""
        plan = self.time_plan
        if plan is None or self.is_far_from_limit:
            return None
        left = 60 * plan.minutes - self.stopwatch.seconds
        return max(_RECORDING_SHARE * left, 2 * plan.seconds["recording"])

    def seconds_for_race(self) -> float | None:
        """Wall time for a race that leaves some for three replicates; None if time is no issue."""
        plan, left = self.time_plan, self.seconds_for_audit()
        if plan is None or left is None:
            return None
        audit = plan.seconds["training the plan and its baselines"]
        return max(0.0, left - audit * min(1.0, 3 / plan.replicates))

    def seconds_for_sharing(self) -> float:
        """Counted time for trying ways to share if none was given; 0 without a time plan."""
        plan, left = self.time_plan, self.seconds_for_race()
        planned = 0.0 if plan is None else plan.seconds.get(SHARING, 0.0)
        return planned if left is None else min(planned, left)

    @property
    def steps(self) -> int:
        """Steps of a training: those of the recorded run, up to the maximum number of epochs.

        Those of a usual training, if the recorded run ended early or could only be shorter.
        """
        work, patience = self.workload(), self.problem.settings.patience
        recorded = int(self.trace.steps.max()) + 1
        n_batches = math.ceil(work.n_training / work.batch_size)
        is_early = recorded + work.every < min(work.epochs, patience) * n_batches
        if is_early or (self.time_plan is not None and self.time_plan.is_lengthened):
            return work.expected_steps
        return min(recorded, work.epochs * n_batches)

    def correct_time_plan(self, n_networks: int | None = None) -> None:
        """Plan again with the steps of the recorded run, and the networks of the plan."""
        before, audited = self.time_plan, self.directory.finished("retrain")
        if before is None:
            return
        chosen = {"replicates": before.replicates, "baselines": before.baselines}
        if self.is_continued and audited is not None and chosen.items() <= audited.inputs.items():
            return  # the audit's own plan may have another number of networks
        requested, spent = self.requested(before.minutes), self._spent(before.minutes)
        plan = replace(before, slowness=self._slowness(is_raced=n_networks is not None))
        if not self.is_continued:
            plan = with_usual_epochs(plan, self.workload(), requested, self.steps)
            self._keep(plan)
            usual = replace(self._work_at_start, n_training=self.workload().n_training)
            plan = with_fitting_length(plan, usual, requested, self.steps, n_networks, spent)
            self._keep(plan)
        plan = replace(plan, is_cut=plan.used_share < 1 or plan.epochs is not None)
        plan = plan_trainings(plan, self.workload(), requested, self.steps, n_networks, spent)
        self._keep(plan)
        is_other = abs(plan.total - before.total) > 0.2 * before.total
        if is_other or plan.choices != before.choices or plan.total > 60 * plan.minutes:
            print_time_plan(self.console, plan, corrected=True)

    def _spent(self, minutes: float) -> float:
        """Seconds since the start, rounded up to 5 % of the limit so that most runs agree."""
        unit = 0.05 * 60 * minutes
        return unit * math.ceil(self.stopwatch.seconds / unit)

    def _slowness(self, *, is_raced: bool) -> float:
        """Seconds per counted second of the trainings to come.

        As measured in the race's trainings, where time is short and there was a race, else at the
        start, or more if the processor was not available since.
        """
        plan = self.time_plan
        assert plan is not None
        if self.is_far_from_limit:
            return plan.slowness
        race = self.race if is_raced else None
        if race is not None and (pace := pace_of(race.measured, self.workload(), self.steps)):
            return pace
        return max(plan.slowness, 2.0 ** round(math.log2(self.stopwatch.waiting)))

    def enough_minutes(self) -> float | None:
        """A time limit that leaves trainings their usual length, if this one does not."""
        plan = self.time_plan
        if plan is None or (plan.epochs is None and plan.batch_size is None):
            return None
        longer = int(plan.minutes) + 1
        return enough_minutes(self._work_at_start, self.requested, plan.slowness, longer)

    def print_skipped(self, stage: str, name: str) -> None:
        """Report a stage that is up to date."""
        self.console.print(
            f"[bold]{stage}[/bold]: up to date, skipped ({escape(str(self.directory.file(name)))})",
            soft_wrap=True,
        )

    def print_finished(self, stage: str, summary: str, outputs: Iterable[str]) -> None:
        """Report what a stage did."""
        finished = self.directory.require(stage)
        files = [escape(str(self.directory.file(name))) for name in outputs]
        shown = shorten(files, 4)
        self.console.print(
            f"[bold]{stage}[/bold]: {summary}, {finished.seconds:.1f} s; wrote {shown}",
            soft_wrap=True,
        )


@contextmanager
def start_run(
    settings: RunSettings, out: Path | None, console: Console, called: float | None = None
) -> Generator[Run]:
    """A run from its source: new, or continued where it was stopped.

    Its time limit begins when the command was `called` (`time.monotonic`).
    """
    stopwatch = Stopwatch() if called is None else Stopwatch(called)
    _check(settings)
    _check_before_reading(settings)
    use_one_thread()
    settings = replace(
        settings, source=_absolute(settings.source), plan=settings.plan and _absolute(settings.plan)
    )
    problem = read_problem(settings)
    record = RunRecord(settings, fingerprint_of(problem), problem.name, typed_command(), versions())
    directory = (
        RunDirectory(out) if out else RunDirectory.unused(Path("runs") / problem.name, record)
    )
    run = Run(directory, settings, console, stopwatch)
    run.problem = run.problem_as_set = problem
    run.budget()
    check_method(settings, len(problem.tasks))
    if settings.plan is not None:
        Plan.named(settings.plan, problem.names)
    with directory.open(record), _report_interruption(directory), warnings_as_notes(console):
        show_problem(console, problem)
        yield run


@contextmanager
def resume_run(path: Path, console: Console, options: object = None) -> Generator[Run]:
    """An existing run; settings that `options` declare, too, are taken from there."""
    directory = RunDirectory(path)
    settings = directory.record.settings
    if options is not None:
        names = inherited_settings(type(options))
        settings = replace(settings, **{name: getattr(options, name) for name in names})
    _check(settings)
    use_one_thread()
    with directory.reopen(), _report_interruption(directory), warnings_as_notes(console):
        yield Run(directory, settings, console)


def time_limit_of(settings: RunSettings) -> float:
    """The time limit in minutes: as given, or the usual one and what other options add to it."""
    usual = 3.0  # minutes of a race
    longer = (settings.minutes or 0.0) + max(0.0, settings.race_minutes - usual)
    return settings.time_limit or USUAL_MINUTES + longer


def use_one_thread() -> None:
    """Networks this small are slower with several threads."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def fingerprint_of(problem: Problem) -> str:
    """A hash of the data."""
    return problem.source.fingerprint or "built in"


def typed_command() -> str:
    """The command line, quoted for a shell."""
    return "affinity " + shlex.join(sys.argv[1:])


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on."""
    installed = {"python": sys.version.split()[0]}
    for name in ("task-affinity", "torch", "scikit-learn", "numpy", "pandas"):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed as a package"
    return installed


def _check(settings: RunSettings) -> None:
    check_choice("the estimator", settings.estimator, ESTIMATORS, "unknown-estimator")
    sharing, given = settings.sharing, settings.sharing_settings
    if given and sharing in (None, "auto"):
        raise InputError(
            f"Expected --sharing to name the way to share with the settings {dict(given)}, but got "
            f"{sharing or 'none'}: several ways are tried with their usual settings.",
            "unknown-setting",
        )
    if given and sharing:
        SHARINGS[sharing].with_settings(given)


def _check_before_reading(settings: RunSettings) -> None:
    """Check the method and the plan against the targets, before a large table is read."""
    tasks = known_tasks(settings)
    check_method(settings, len(tasks or ()))
    if settings.plan not in (None, "separate", "all-in-one"):
        Plan.from_yaml(Path(settings.plan), tasks=tasks)


def check_method(settings: RunSettings, n_tasks: int) -> None:
    """Check that the method can group this many tasks, and into groups that overlap."""
    if settings.method == "race" and settings.overlap:
        raise InputError(
            "Expected disjoint groups with --method race: it does not train tasks that a network "
            "does not serve. Leave out --overlap, or choose --method affinity.",
            "overlap-in-race",
        )
    if settings.method == "surrogate" and n_tasks > LISTED:
        raise InputError(
            f"Expected {LISTED} tasks or fewer with --method surrogate, which predicts the gain of "
            f"every group, but got {n_tasks}. Choose --method race or affinity.",
            "too-many-tasks",
        )


def _absolute(name: str) -> str:
    """A file's full path, so that the run can be continued from another folder."""
    return str(Path(name).resolve()) if Path(name).exists() else name


@contextmanager
def _report_interruption(directory: RunDirectory) -> Generator[None]:
    """Report which results are saved if a run is stopped or diverges."""
    try:
        yield
    except (KeyboardInterrupt, DivergenceError) as error:
        names = sorted(file.name for file in directory.path.iterdir() if file.name[0] != ".")
        saved = f"Saved in {directory.path}: {', '.join(names)}."
        if isinstance(error, KeyboardInterrupt):
            raise Stopped(f"{saved} Run the same command again to continue.") from error
        error.add_note(f"{saved} To try another --learning-rate, give another --out, too.")
        raise
