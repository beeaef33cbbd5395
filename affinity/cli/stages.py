"""The stages of an audit, each kept in the run's folder and run again only where it must."""

import os
import shlex
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from safetensors import SafetensorError

from affinity.audit import ENDED, Audit, KeptPlan, measure_sharing, retrain
from affinity.errors import DivergenceError, InputError
from affinity.estimates import (
    ESTIMATORS,
    NEED_HELD_OUT,
    NEED_OPTIMIZER_STEPS,
    AffinityMatrix,
)
from affinity.files import write_atomically
from affinity.grouping import solve
from affinity.problems import Problem, record
from affinity.recommendation import Plan, recommend, share_as_measured
from affinity.recording import Trace

from .causes import DIAGNOSIS, diagnosis_of
from .frontier_file import frontier_csv
from .options import AuditOptions, settings_of
from .racing import contender_of, fits, race, read_race, write_race
from .run_directory import RunDirectory
from .stopped import Stopped
from .summary import show_problem, show_race

TRACE, AFFINITY, PLAN, FRONTIER, AUDIT, PAGE = (
    "trace.safetensors",
    "affinity.csv",
    "plan.yaml",
    "frontier.csv",
    "audit.json",
    "report.html",
)
MEASUREMENTS = "measurements.safetensors"
RACE = "race.csv"
TRAININGS = "trainings"  # a folder
TRAINED, PREDICTIONS = "trained.safetensors", "predictions.csv"


@dataclass(frozen=True, eq=False)
class Stages:
    """What can be done in a run's folder, in this order: record, estimate, group, retrain, report.

    Args:
        run: The folder; its lock is held by whoever calls.
        options: What was asked for.
        console: Where to say what was done.
        read: The problem, where it was read already.
    """

    run: RunDirectory
    options: AuditOptions
    console: Console
    read: Problem | None = None

    @cached_property
    def problem(self) -> Problem:
        """The tasks and rows, as they were when the run was recorded.

        Raises:
            InputError: If the data are gone, or no longer the same.
        """
        problem = self.read or self.options.problem()
        was = self.run.body()["what"]["fingerprint"]
        if fingerprint_of(problem) != was:
            raise InputError(
                f"Expected the data of the run {str(self.run.path)!r} (fingerprint {was}), but "
                f"{self.options.source!r} holds others now ({fingerprint_of(problem)}). Record a "
                f"new run: affinity record {shlex.quote(self.options.source)} ..."
            )
        return problem

    def record(self) -> Trace:
        """One multi-task run, watched."""
        if self.run.is_done("record"):
            self.stands("The recorded run", TRACE)
            return Trace.load(self.run.file(TRACE))
        count = "one run" if self.options.runs == 1 else f"{self.options.runs} runs"
        self.console.print(f"Recording {count} of all tasks in one network ...")
        with self.run.stage("record", {}, [TRACE]):
            trace = record(
                self.problem,
                every=self.options.every,
                runs=self.options.runs,
                seed=self.options.seed,
                held_out=self.options.estimator in NEED_HELD_OUT,
                step="optimizer" if self.options.estimator in NEED_OPTIMIZER_STEPS else "gradient",
                partial=self.run.file("trace.partial.safetensors"),
            )
            try:
                trace.save(self.run.file(TRACE))
            except (OSError, SafetensorError) as error:
                raise InputError(
                    f"Could not write {str(self.run.file(TRACE))!r}: {error}. Choose a folder that "
                    "can be written to and has space left."
                ) from error
        self.wrote("record", f"{len(trace)} measurements of {len(trace.tasks)} tasks", [TRACE])
        return trace

    def estimate(self, trace: Trace | None = None) -> AffinityMatrix:
        """Affinity with its errors."""
        self.run.require("record")
        inputs = {"trace": self.run.hash_of(TRACE), "estimator": self.options.estimator}
        if self.run.is_done("estimate", inputs):
            self.stands("The estimate", AFFINITY)
            return self.matrix()
        trace = trace or Trace.load(self.run.file(TRACE))
        with self.run.stage("estimate", inputs, [AFFINITY]) as about:
            matrix = ESTIMATORS[self.options.estimator]()(trace)
            write_atomically(self.run.file(AFFINITY), matrix.frame().to_csv(index=False))
            about["estimator"] = matrix.estimator
        self.wrote(
            "estimate", f"{self.options.estimator} from {len(trace)} measurements", [AFFINITY]
        )
        return matrix

    def matrix(self) -> AffinityMatrix:
        """The affinities in the folder."""
        noted = self.run.require("estimate")
        frame = pd.read_csv(
            self.run.file(AFFINITY),
            dtype={"source": str, "target": str},
            keep_default_na=False,
            na_values={"affinity": [""], "standard_error": [""]},
        )
        return AffinityMatrix.from_frame(frame, estimator=noted["estimator"])

    def group(self, matrix: AffinityMatrix | None = None, trace: Trace | None = None) -> Plan:
        """A grouping within the budget, and the plan made of it; an edited plan is kept."""
        matrix = matrix or self.matrix()
        budget = self.options.budget_for(len(matrix.tasks))
        is_race = self._is_race()
        inputs = {
            "affinity": self.run.hash_of(AFFINITY),
            "budget": budget,
            "overlap": self.options.overlap,
            "sharing": self.options.sharing,
            "race": self.options.race_minutes if is_race else None,
        }
        noted, file = self.run.noted("group"), self.run.file(PLAN)
        is_edited = file.exists() and (
            noted is None or noted["outputs"][PLAN] != self.run.hash_of(PLAN)
        )
        if noted is not None and noted["inputs"] == inputs and file.exists():
            if is_edited:
                self.console.print(f"{escape(str(file))} was edited; it is taken as it stands.")
            else:
                self.stands("The plan", PLAN)
            return Plan.from_yaml(file, tasks=matrix.tasks)
        if is_edited:
            raise InputError(
                f"Expected to write the plan to {str(file)!r}, but a plan that was edited stands "
                "there, made from other affinities or another budget. Audit it (affinity retrain "
                f"{shlex.quote(str(self.run.path))}), or move it away to group again."
            )
        outputs = [PLAN, FRONTIER, *([RACE] if is_race else ())]
        with self.run.stage("group", inputs, outputs):
            about = {"problem": self.run.body()["problem"], "budget": budget}
            known = self._without_gaps(matrix)
            frontier = frontier_csv(known, budget, self.options.overlap)
            write_atomically(self.run.file(FRONTIER), frontier)
            make = self._raced if is_race else self._grouped
            plan, did = make(known, trace, about)
            if self.options.sharing == "measured":
                self.console.print("Training each network in every way to share ...")
                seed = self.options.seed + 2
                measured = measure_sharing(self.problem, plan.grouping, seed=seed)
                plan = share_as_measured(plan, measured)
            plan.to_yaml(file)
        self.wrote("group", did, outputs)
        return plan

    def _is_race(self) -> bool:
        """Whether the grouping is raced: as asked for, else where that fits the time allowed."""
        if self.options.verify is not None:
            return self.options.verify == "race"
        is_fitting = not self.options.overlap and fits(
            self.problem, self.options, (self.run.noted("record") or {})["seconds"]
        )
        if not is_fitting:
            self.console.print(
                "Grouping by affinity alone, since a race is not likely to end within "
                f"{self.options.race_minutes:g} minutes or groups may overlap (--verify race "
                "--race-minutes 30 races nevertheless)."
            )
        return is_fitting

    def _grouped(
        self, matrix: AffinityMatrix, _: Trace | None, about: Mapping[str, Any]
    ) -> tuple[Plan, str]:
        """The plan that affinity alone makes, and what to say of it."""
        grouping = solve(matrix, budget=about["budget"], overlap=self.options.overlap)
        certificate = (
            "proven best within the budget"
            if grouping.is_optimal
            else f"not proven best, at most {grouping.gap:.3g} below"
            if grouping.gap is not None
            else "not proven best"
        )
        plan = recommend(matrix, grouping, about)
        return plan, f"{_networks(plan)}, {certificate} by affinity"

    def _raced(
        self, matrix: AffinityMatrix, trace: Trace | None, about: Mapping[str, Any]
    ) -> tuple[Plan, str]:
        """The plan that wins a race, and what to say of it."""
        self.console.print("Racing contending groupings, a round of trainings after the other ...")
        trace = trace or Trace.load(self.run.file(TRACE))
        store = self.run.file(TRAININGS)
        raced = race(self.problem, self.options, matrix, trace, store)
        write_race(raced, self.run.file(RACE))
        show_race(self.console, raced)
        plan = raced.to_plan(contender_of(self.options), about)
        return plan, f"{_networks(plan)}, {raced.trainings} trainings, {ENDED[raced.ended]}"

    def plan(self, choice: str | None) -> Plan:
        """The run's plan.yaml, or another: a file, "separate" or "all-in-one"."""
        names = self.problem.names
        if choice == "separate":
            return Plan.separate(names)
        if choice == "all-in-one":
            return Plan.all_in_one(names)
        file = self.run.file(PLAN) if choice is None else Path(choice)
        if choice is None and not file.exists():
            raise InputError(
                f"Expected a plan in {str(self.run.path)!r}, but there is none. Make it (affinity "
                f"group {shlex.quote(str(self.run.path))}), or give one with --plan."
            )
        return Plan.from_yaml(file, tasks=names)

    def retrain(self, plan: Plan, *, keep: bool = False, backend: str | None = None) -> Audit:
        """The plan beside its baselines, measured; trainings that were finished count."""
        replicates = self.options.replicates_for(len(self.problem.tasks))
        growth = self.options.growth()
        matrix = self.matrix() if self.run.is_done("estimate") else None
        inputs = {
            "width": plan.width,
            "networks": [
                [sorted(network.trained), sorted(network.served), sharing]
                for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
            ],
            "affinity": self.run.hash_of(AFFINITY) if matrix is not None else None,
            "replicates": replicates,
            "baselines": self.options.baselines,
            "growth": growth,
        }
        noted = self.run.noted("retrain")
        is_kept = noted is not None and TRAINED in noted["outputs"]
        if self.run.is_done("retrain", inputs) and (is_kept or not keep):
            self.stands("The audit", AUDIT)
            return Audit.load(self.run.file(MEASUREMENTS))
        self.console.print(
            f"Retraining the plan ({_networks(plan)}) beside its baselines, {replicates} "
            f"replicates{' at first' if growth else ''} ..."
        )
        outputs = [AUDIT, MEASUREMENTS, *([TRAINED, PREDICTIONS] if keep else ())]
        body = self.run.body()
        with self.run.stage("retrain", inputs, outputs):
            audit = retrain(
                plan,
                self.problem,
                replicates,
                seed=self.options.seed + 1,
                baselines=self.options.chosen_baselines(),
                **growth,
                matrix=matrix,
                context={
                    "command": body["command"],
                    "versions": body["versions"],
                    "seed": self.options.seed,
                    "every": self.options.every,
                    "budget": plan.provenance.get("budget"),
                    "settings": settings_of(self.problem.settings),
                    "measurements": _measurements(self.run),
                    "race": self._race_of(plan),
                },
                keep=keep,
                store=self.run.file(TRAININGS),
                backend=backend,
            )
            if keep:
                kept = KeptPlan.of(audit, self.problem, seed=self.options.seed + 1)
                kept.save(self.run.file(TRAINED))
                frame = kept.test_predictions(audit, self.problem)
                write_atomically(self.run.file(PREDICTIONS), frame.to_csv(index_label="row"))
            audit.save(self.run.file(MEASUREMENTS))
            audit.to_json(self.run.file(AUDIT))
        self.wrote("retrain", f"{audit.gains.n_replicates} replicates", outputs)
        return audit

    def _race_of(self, plan: Plan) -> list[dict[str, Any]] | None:
        """The contenders of the race that made this plan; None if none did."""
        is_raced = RACE in (self.run.noted("group") or {"outputs": ()})["outputs"]
        is_own = is_raced and plan == Plan.from_yaml(self.run.file(PLAN))
        return read_race(self.run.file(RACE)) if is_own else None

    def audit(self) -> Audit:
        """The audit in the folder."""
        self.run.require("retrain")
        return Audit.load(self.run.file(MEASUREMENTS))

    def report(self, audit: Audit | None = None, formats: Sequence[str] = ()) -> Path:
        """The page, and its pictures in these formats."""
        from affinity.report import write_figures

        self.run.require("retrain")
        has_trace = self.run.is_done("record")
        inputs = {
            "measurements": self.run.hash_of(MEASUREMENTS),
            "trace": self.run.hash_of(TRACE) if has_trace else None,
            "diagnosis": self.run.hash_of(DIAGNOSIS),
            "formats": list(formats),
        }
        page = self.run.file(PAGE)
        if self.run.is_done("report", inputs):
            self.stands("The report", PAGE)
            return page
        audit = audit or self.audit()
        trace = Trace.load(self.run.file(TRACE)) if has_trace else None
        diagnosis = diagnosis_of(self.run)
        outputs = [PAGE]
        with self.run.stage("report", inputs, outputs):
            audit.report(page, trace=trace, diagnosis=diagnosis)
            if formats:
                figures = write_figures(
                    audit, self.run.file("figures"), formats, trace=trace, diagnosis=diagnosis
                )
                outputs += [str(figure.relative_to(self.run.path)) for figure in figures]
        self.wrote("report", f"{1 + len(outputs[1:])} files" if formats else "one page", outputs)
        return page

    def stands(self, what: str, name: str) -> None:
        """Say that a stage was not run again."""
        self.console.print(
            f"{what} is there, and nothing that it was made from changed: "
            f"{escape(str(self.run.file(name)))}",
            soft_wrap=True,
        )

    def wrote(self, stage: str, did: str, outputs: Iterable[str]) -> None:
        """Say what a stage did."""
        seconds = (self.run.noted(stage) or {})["seconds"]
        files = [escape(str(self.run.file(name))) for name in outputs]
        shown = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        self.console.print(
            f"[bold]{stage}[/bold]: {did}, {seconds:.1f} s; wrote {shown}", soft_wrap=True
        )

    def _without_gaps(self, matrix: AffinityMatrix) -> AffinityMatrix:
        """Pairs that were never measured count as 0: neither help nor harm is known."""
        n_missing = int((matrix.values.isnan() & ~torch.eye(len(matrix.tasks)).bool()).sum())
        if n_missing:
            self.console.print(
                f"[yellow]Note:[/yellow] {n_missing} pairs of tasks were never measured together; "
                "they count as 0."
            )
        return replace(matrix, values=matrix.values.nan_to_num(nan=0.0))


@contextmanager
def started(
    options: AuditOptions, out: Path | None, console: Console, command: str
) -> Generator[Stages]:
    """The stages of a run from its source, new or gone on with.

    Raises:
        InputError: If options or data cannot be used, or the folder not.
    """
    _check(options)
    use_one_thread()
    problem = options.problem()
    options.budget_for(len(problem.tasks))
    options.replicates_for(len(problem.tasks))
    what = {"options": options.plain(), "fingerprint": fingerprint_of(problem)}
    run = RunDirectory(out) if out else RunDirectory.fresh(Path("runs") / problem.name, what)
    about = {"problem": problem.name, "command": command, "versions": _versions()}
    with run.opened(what, about), _kept(run):
        show_problem(console, problem)
        yield Stages(run, options, console, problem)


@contextmanager
def resumed(path: Path, console: Console, **chosen: Any) -> Generator[Stages]:
    """The stages of a run that was recorded, with options of later stages chosen anew.

    Raises:
        InputError: If there is no run, another process writes to it, or an option cannot be used.
    """
    run = RunDirectory(path)
    options = options_of(run)
    options = replace(
        options, **{name: value for name, value in chosen.items() if value is not None}
    )
    _check(options)
    use_one_thread()
    with run.reopened(), _kept(run):
        yield Stages(run, options, console)


def options_of(run: RunDirectory) -> AuditOptions:
    """What was asked for when the run was recorded."""
    stored: dict[str, Any] = run.body()["what"]["options"]
    for name in ("targets", "kinds", "exclude"):
        stored[name] = tuple(stored[name])
    return AuditOptions(**stored)


def fingerprint_of(problem: Problem) -> str:
    """What tells the data from others."""
    return str(problem.provenance.get("fingerprint", "built in"))


def use_one_thread() -> None:
    """Networks this small only wait for each other's threads."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def _check(options: AuditOptions) -> None:
    if options.estimator not in ESTIMATORS:
        raise InputError(
            f"Expected one of the estimators {list(ESTIMATORS)}, but got {options.estimator!r}."
        )
    options.chosen_baselines()
    if options.verify not in (None, "race", "affinity"):
        raise InputError(f"Expected verify to be 'race' or 'affinity', but got {options.verify!r}.")
    if not options.race_minutes > 0:
        raise InputError(f"Expected race_minutes above 0, but got {options.race_minutes}.")
    options.growth()
    if options.every < 1:
        raise InputError(f"Expected every of at least 1, but got {options.every}.")
    if options.runs < 1:
        raise InputError(f"Expected runs of at least 1, but got {options.runs}.")
    if options.budget is not None and options.budget < 1:
        raise InputError(f"Expected a budget of at least 1, but got {options.budget}.")


def _networks(plan: Plan) -> str:
    count = len(plan.grouping.networks)
    return f"{count} {'network' if count == 1 else 'networks'}"


def _measurements(run: RunDirectory) -> int | None:
    return len(Trace.load(run.file(TRACE))) if run.is_done("record") else None


@contextmanager
def _kept(run: RunDirectory) -> Generator[None]:
    """Say what is kept when a run breaks off."""
    try:
        yield
    except (KeyboardInterrupt, DivergenceError) as error:
        kept = sorted(file.name for file in run.path.iterdir() if not file.name.startswith("."))
        message = f"Kept in {run.path}: {', '.join(kept)}. The same command goes on from there."
        if isinstance(error, KeyboardInterrupt):
            raise Stopped(message) from error
        error.add_note(message)
        raise


def _versions() -> dict[str, Any]:
    names = ("task-affinity", "torch", "scikit-learn", "numpy", "pandas")
    versions = {"python": sys.version.split()[0]}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    return versions
