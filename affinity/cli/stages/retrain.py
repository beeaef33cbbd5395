"""Retrain stage: a plan and its baselines, trained on every replicate and compared."""

import shlex
from dataclasses import replace
from typing import cast

from rich.markup import escape

from affinity.audit import Audit, AuditContext, TrainedPlan, retrain
from affinity.audit.baselines import BASELINES
from affinity.audit.retrain import ALWAYS_TRAINED
from affinity.audit.time_plan import cost_of_fewer_rows
from affinity.cli.console import print_note
from affinity.cli.early_checks import known_tasks
from affinity.cli.options import TrainerOptions
from affinity.cli.run import REFERENCE_SECONDS, Run
from affinity.cli.run_directory import (
    AFFINITY,
    AUDIT,
    MEASUREMENTS,
    PLAN,
    PREDICTIONS,
    TRAINED,
    TRAININGS,
    RunDirectory,
)
from affinity.cli.summary import count_networks
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.problems import Problem
from affinity.problems.record import steps_between_measurements
from affinity.reading import DataNote
from affinity.recommendation import Plan
from affinity.statistics import NegativeTransferTest
from affinity.storage import save
from affinity.words import clock, count, gain_in_percent, in_percent


def find_plan(run: Run, choice: str | None = None) -> Plan:
    """The run's plan.yaml, or another plan: a file, "separate" or "all-in-one"."""
    names = known_tasks(run.settings) or run.problem.names  # before a large table is read
    if choice is not None:
        return Plan.named(choice, names)
    folder, file = run.directory.path, run.directory.file(PLAN)
    if not file.exists():
        raise InputError(
            f"Expected a plan in {str(folder)!r}, but there is none. Make one (affinity group "
            f"{shlex.quote(str(folder))}), or give one with --plan.",
            "no-plan",
        )
    return Plan.from_yaml(file, tasks=names)


def is_edited(directory: RunDirectory) -> bool:
    """Whether plan.yaml is neither what `group` wrote nor the decision of the last audit."""
    grouped, audited = directory.finished("group"), directory.finished("retrain")
    written = {
        None if grouped is None else grouped.outputs.get(PLAN),
        None if audited is None else audited.inputs.get("decision"),
    }
    return directory.file(PLAN).exists() and directory.hash_of(PLAN) not in written


def describe_networks(plan: Plan) -> list[list[object]]:
    """The plan's width and networks, for comparing the inputs of a stage."""
    return [
        [plan.width],
        *(
            [sorted(network.trained), sorted(network.served), sharing, dict(settings)]
            for network, sharing, settings, _ in plan.parts
        ),
    ]


def retrain_stage(run: Run, plan: Plan, options: TrainerOptions, is_given: bool = False) -> None:
    """Train the plan and its baselines, and decide; finished trainings are reused.

    If another candidate is advised, it becomes the plan: in plan.yaml, in the audit, and for saved
    networks. A plan that the user gave or edited is judged itself, and never overwritten.
    """
    directory, settings = run.directory, run.settings
    decides = not is_given and not is_edited(directory)
    if options.save_models:
        TrainedPlan.encoder_of(run.problem)
    has_matrix = directory.is_done("estimate")
    inputs: dict[str, object] = {
        "networks": describe_networks(plan),
        "affinity": directory.hash_of(AFFINITY) if has_matrix else None,
        "replicates": run.replicates(),
        "baselines": run.baselines(),
        "minutes": settings.minutes,
        "max_replicates": settings.max_replicates,
        "tolerance": settings.tolerance,
        "reference": settings.reference,
    }
    if run.time_plan is not None and run.time_plan.epochs is not None:
        inputs["epochs"] = run.time_plan.epochs
    finished = directory.finished("retrain")
    decision = None if finished is None else finished.inputs.get("decision")
    if decides and finished is not None and decision == directory.hash_of(PLAN):
        inputs |= {name: finished.inputs[name] for name in ("networks", "decision")}
    else:
        inputs["decision"] = None
    has_models = finished is not None and TRAINED in finished.outputs
    if directory.is_done("retrain", inputs) and (has_models or not options.save_models):
        run.print_skipped("retrain", AUDIT)
        return
    grows = settings.minutes is not None or settings.max_replicates is not None
    run.console.print(
        f"Training the plan ({count_networks(plan)}) and its baselines, "
        f"{count(run.replicates(), 'replicate')}{' to begin with' if grows else ''} ..."
    )
    growth: dict[str, object] = {"until": "decided", "minutes": settings.minutes} if grows else {}
    if settings.max_replicates is not None:
        growth["max_replicates"] = settings.max_replicates
    outputs = [AUDIT, MEASUREMENTS, *([TRAINED, PREDICTIONS] if options.save_models else ())]
    with directory.stage("retrain", inputs, outputs):
        audit = retrain(
            plan,
            _with_notes(run),
            run.replicates(),
            seed=settings.seed + 1,
            baselines=BASELINES if run.baselines() == "all" else (),
            seconds=None if grows else run.seconds_for_audit(),
            **growth,  # pyright: ignore[reportArgumentType]
            test=NegativeTransferTest(tolerance=settings.tolerance),
            matrix=run.matrix if has_matrix else None,
            context=_context(run, plan),
            keep=options.save_models,
            store=directory.file(TRAININGS),
            backend=options.backend,
            reference_seconds=_reference_seconds(run),
        )
        if (note := _late_note(run, audit.gains.n_replicates)) is not None:
            print_note(run.console, str(note))
            notes = (*audit.context.notes, note)
            audit = replace(audit, context=replace(audit.context, notes=notes))
        audit = proposed = _with_note_on_reference(audit, run.settings.reference)
        if decides:
            audit = audit.decide()
            if audit.plan != plan:
                audit.plan.to_yaml(directory.file(PLAN))
            inputs["decision"] = directory.hash_of(PLAN)
        if options.save_models:
            trained = TrainedPlan.from_audit(audit, run.problem, seed=settings.seed + 1)
            save(trained, directory.file(TRAINED))
            frame = trained.test_predictions(audit, run.problem)
            write_atomically(directory.file(PREDICTIONS), frame.to_csv(index_label="row"))
        save(replace(audit, networks={}), directory.file(MEASUREMENTS))
        audit.to_json(directory.file(AUDIT))
    run.audit = audit
    run.print_finished("retrain", count(audit.gains.n_replicates, "replicate"), outputs)
    if audit is not proposed:
        run.console.print(
            f"Another candidate is advised: {escape(str(directory.file(PLAN)))} now "
            f"holds it ({count_networks(audit.plan)}).",
            soft_wrap=True,
        )


def _reference_seconds(run: Run) -> float:
    if not run.settings.reference:
        return 0.0
    plan = run.time_plan
    return REFERENCE_SECONDS if plan is None else plan.seconds["reference"]


def _with_note_on_reference(audit: Audit, is_wanted: bool) -> Audit:
    """The audit, with a note if its reference was wanted and could not be trained."""
    if audit.reference is not None or not is_wanted:
        return audit
    text = (
        "There is no reference that shares nothing: not even one replicate of gradient boosting "
        "was complete in the time that was left. A longer --time-limit gives it more."
    )
    notes = (*audit.context.notes, DataNote("no-reference", text))
    return replace(audit, context=replace(audit.context, notes=notes))


def _with_notes(run: Run) -> Problem:
    """The problem with notes on what was left out to keep the time limit, and what that costs."""
    plan, problem = run.time_plan, run.problem
    if plan is None or not plan.is_cut:
        return problem
    text = f"To keep the time limit of {plan.minutes:g} min, the audit used {plan.choices}."
    notes = [DataNote("time-limit", text)]
    if plan.used_share < 1:
        costs = cost_of_fewer_rows(problem, run.settings.seed + 4, run.directory.file(TRAININGS))
        if costs:
            lost = ", ".join(
                f"{gain_in_percent(loss)} with {in_percent(share)}" for share, loss in costs.items()
            )
            text = (
                f"Learning curve of one network for all tasks, on selection rows: its losses are "
                f"{lost} of the training rows that were used ({in_percent(plan.used_share)} of the "
                "rows that there are). With all rows, losses are lower, and gains from sharing are "
                "usually smaller."
            )
            notes.append(DataNote("cost-of-fewer-rows", text, value=costs[max(costs)]))
    return replace(problem, notes=(*problem.notes, *notes))


def _late_note(run: Run, done: int) -> DataNote | None:
    """The note of an audit that left out replicates, or took longer, at its time limit."""
    plan = run.time_plan
    if plan is None or (done == run.replicates() and run.seconds_over_limit() <= 0):
        return None
    limit = 60 * plan.minutes
    text = ""
    if done < run.replicates():
        text = (
            f"The time limit of {clock(limit)} min allowed {count(done, 'replicate')} instead of "
            f"{run.replicates()}: this machine is slower or busier than expected. Intervals are "
            "wider than planned. "
        )
    if (over := run.seconds_over_limit()) > 0:
        text += (
            f"Trainings ended after {clock(limit + over)} min, later than the time limit of "
            f"{clock(limit)} min. "
        )
        if done <= ALWAYS_TRAINED:
            text += f"{ALWAYS_TRAINED} replicates are always trained. "
    return DataNote("late", text.rstrip(), "warning", value=float(done))


def _budget(run: Run) -> int | None:
    """The budget that was given to the audit, or to `affinity group` if stages run one by one."""
    if run.settings.budget is not None:
        return run.settings.budget
    group = run.directory.finished("group")
    if group is None or (
        group.inputs["method"] == "affinity" and group.inputs["budget"] == run.budget()
    ):
        return None  # the usual one of affinity alone
    return cast("int | None", group.inputs["budget"])


def _context(run: Run, plan: Plan) -> AuditContext:
    """How the audit was made."""
    record = run.directory.record
    recorded = record.stages.get("record")
    race = run.race if run.directory.file(PLAN).exists() else None
    if race is not None and plan != Plan.from_yaml(run.directory.file(PLAN)):
        race = None
    return AuditContext(
        command=record.command,
        versions=record.versions,
        seed=run.settings.seed,
        every=run.settings.measure_every or steps_between_measurements(run.problem),
        budget=_budget(run),
        seconds={
            stage: record.stages[stage].seconds
            for stage in ("record", "estimate", "group")
            if stage in record.stages
        },
        recording=recorded.cost if recorded else None,
        race=() if race is None else race.candidates,
        race_finding=None if race is None else race.finding,
        detectable=() if race is None else race.detectable,
        enough_minutes=run.enough_minutes(),
    )
