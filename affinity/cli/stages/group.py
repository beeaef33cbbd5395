"""Group stage: a plan within the budget, by a race, by predicted gains, or by affinity alone."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import replace

import pandas as pd
import torch
from rich.markup import escape

from affinity.audit import ENDED, Race, measure_sharing
from affinity.audit.blocks import MOST_BLOCKS
from affinity.audit.candidates import LISTED
from affinity.audit.measure_sharing import WAYS
from affinity.audit.race import most_trainings
from affinity.audit.time_plan import SPEED, STEP_WORK, affordable_ways, frontier_seconds
from affinity.cli.console import print_note
from affinity.cli.options import Method
from affinity.cli.run import Run, check_method
from affinity.cli.run_directory import AFFINITY, FRONTIER, PLAN, RACE, RACE_TABLE, TRAININGS
from affinity.cli.summary import count_networks, show_race, show_sharing
from affinity.errors import InputError
from affinity.estimates import ESTIMATORS, AffinityMatrix, GradientSurrogate, GroupScores
from affinity.files import write_atomically
from affinity.grouping import all_groups, frontier, prefer_simple, solve
from affinity.problems import Problem
from affinity.recommendation import (
    Plan,
    PlanProvenance,
    plan_from_predictions,
    recommend,
    share_as_given,
    share_as_measured,
)
from affinity.recommendation.policy import NOT_MEASURED
from affinity.storage import save
from affinity.words import clock, count, listed

from .retrain import is_edited

_OTHER_ESTIMATOR = "gradient cosine"  # costs nothing once a trace is recorded
_MOST_TASKS_FOR_EVERY_BUDGET = 12  # up to here every budget is solved exactly within a moment
_LARGEST_BUDGET = 8


def group_stage(run: Run) -> Plan:
    """Find a grouping within the budget and make a plan of it; an edited plan is kept."""
    directory, settings = run.directory, run.settings
    file, method = directory.file(PLAN), _method(run)
    uses_tolerance = method != "affinity" or settings.sharing in (None, "auto")
    inputs: dict[str, object] = {
        "affinity": directory.hash_of(AFFINITY),
        "budget": run.budget() if method == "affinity" else settings.budget,
        "overlap": settings.overlap,
        "sharing": settings.sharing,
        "sharing_settings": dict(settings.sharing_settings),
        "method": method,
        "race_minutes": settings.race_minutes if method == "race" else None,
        "tolerance": settings.tolerance if uses_tolerance else None,
    }
    if method == "race" and run.time_plan is not None and run.time_plan.race_trainings is not None:
        inputs["race_trainings"] = run.time_plan.race_trainings
    finished = directory.finished("group")
    if finished is not None and finished.inputs == inputs and file.exists():
        if is_edited(directory):
            run.console.print(f"{escape(str(file))} was edited by hand; using it unchanged.")
        else:
            run.print_skipped("group", PLAN)
        return Plan.from_yaml(file, tasks=run.matrix.tasks)
    if is_edited(directory):
        raise InputError(
            f"Expected to write the plan to {str(file)!r}, but that file was edited by hand, and "
            "affinities or settings have changed since. Audit it (affinity retrain "
            f"{shlex.quote(str(directory.path))}), or move it away to group again.",
            "edited-plan",
        )
    outputs = [PLAN, FRONTIER, *([RACE, RACE_TABLE] if method == "race" else ())]
    with directory.stage("group", inputs, outputs):
        matrix = _fill_gaps(run)
        budget = run.budget() if method == "affinity" else settings.budget
        write_atomically(directory.file(FRONTIER), _frontier_csv(run, matrix, budget))
        plan, summary = _METHODS[method](run, matrix)
        plan = share(run, plan)
        plan.to_yaml(file)
    run.print_finished("group", summary, outputs)
    return plan


def share(run: Run, plan: Plan) -> Plan:
    """The plan with its tasks sharing as --sharing says."""
    settings = run.settings
    if settings.sharing not in (None, "hard", "auto"):
        return share_as_given(plan, settings.sharing, settings.sharing_settings)
    is_assumed = settings.sharing is None and run.time_plan is None
    if is_assumed or settings.sharing == "hard" or all(n.is_alone for n in plan.grouping.networks):
        return plan
    ways, note = WAYS, ""
    if settings.sharing is None and run.time_plan is not None:
        steps, slowness = run.steps, run.time_plan.slowness
        seconds = run.seconds_for_sharing()
        ways, others = affordable_ways(
            run.problem, run.workload(), plan.grouping, steps, seconds, slowness
        )
        if others:
            needed = listed([f"{way} ({clock(needed)} min)" for way, needed in others.items()])
            left = f"within the {clock(seconds)} min planned for ways to share"
            note = (
                f"Not tried {left if seconds >= 1 else 'since the time limit leaves no time'}: "
                f"{needed}. --sharing auto tries every way."
            )
        if not ways:
            note = f"Hard sharing is assumed. {note}"
            run.console.print(note, soft_wrap=True, highlight=False)
            return share_as_given(plan, "hard", why=note, evidence=NOT_MEASURED)
    run.console.print(f"Training the networks in other ways to share: {', '.join(ways)} ...")
    measured = measure_sharing(run.problem, plan.grouping, seed=settings.seed + 2, ways=ways)
    show_sharing(run.console, measured, settings.tolerance, note)
    return share_as_measured(plan, measured, note, settings.tolerance)


def race_trainings(run: Run) -> int:
    """How many trainings fit into `race_minutes` on a usual core, and into the time plan.

    A training takes as many steps as the recorded run, and 6 operations per parameter and row of a
    step. The time that trainings take on this machine has no effect: the same data and options give
    the same race.
    """
    problem, settings = run.problem, run.settings
    network = problem.network(problem.tasks)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    per_step = STEP_WORK + 6 * n_parameters * problem.settings.batch_size
    fitting = int(60 * settings.race_minutes * SPEED / (run.steps * per_step))
    planned = None if run.time_plan is None else run.time_plan.race_trainings
    return fitting if planned is None else min(fitting, planned)


def fits_race(run: Run) -> bool:
    """Whether two rounds fit into `race_minutes`: below that a race finds little."""
    n_blocks = min(len(run.problem.tasks), MOST_BLOCKS)
    return 4 * n_blocks <= race_trainings(run)


def _method(run: Run) -> Method:
    """The method of the settings, or the best one that time and number of tasks allow."""
    settings = run.settings
    if settings.method is not None:
        return settings.method
    run.directory.require("record")
    if not settings.overlap and fits_race(run):
        return "race"
    method = "surrogate" if len(run.problem.tasks) <= LISTED else "affinity"
    reason = (
        "a race does not support overlapping groups"
        if settings.overlap
        else f"only {count(race_trainings(run), 'training')} of this network take less than "
        f"{settings.race_minutes:g} minutes (--race-minutes), too few for a race"
    )
    run.console.print(
        f"Grouping with --method {method}, since {reason}. To race nevertheless: --method race."
    )
    return method


def _by_affinity(run: Run, matrix: AffinityMatrix) -> tuple[Plan, str]:
    """The plan of the best grouping by affinity alone, and a summary."""
    grouping = solve(
        weigh_targets(matrix, run.problem), budget=run.budget(), overlap=run.settings.overlap
    )
    certificate = (
        "proven optimal within the budget"
        if grouping.is_optimal
        else f"not proven optimal, at most {grouping.gap:.3g} below the optimum"
        if grouping.gap is not None
        else "not proven optimal"
    )
    plan = recommend(matrix, grouping, _provenance(run, run.budget()))
    return plan, f"{count_networks(plan)}, {certificate} by affinity"


def _by_race(run: Run, matrix: AffinityMatrix) -> tuple[Plan, str]:
    """The plan that wins a race, and a summary."""
    settings = run.settings
    check_method(settings, len(run.problem.tasks))
    run.console.print("Racing candidate groupings in rounds of trainings ...")
    matrices = [matrix]
    if settings.estimator != _OTHER_ESTIMATOR:
        matrices.append(ESTIMATORS[_OTHER_ESTIMATOR]()(run.trace))
    race = Race(
        budget=settings.budget,
        trainings=min(race_trainings(run), most_trainings(len(run.problem.tasks))),
        seconds=run.seconds_for_race(),
        tolerance=settings.tolerance,
        seed=settings.seed + 3,  # neither the recorded run's replicates nor those of the audit
    )
    result = race(run.problem, matrices, store=run.directory.file(TRAININGS))
    save(result, run.directory.file(RACE))
    write_atomically(run.directory.file(RACE_TABLE), result.frame().to_csv(index=False))
    run.race = result
    show_race(run.console, result)
    winner = "plan" if settings.budget is None else "within the budget"
    plan = result.to_plan(winner, _provenance(run, settings.budget))
    return plan, f"{count_networks(plan)}, {result.trainings} trainings, {ENDED[result.ended]}"


def _by_surrogate(run: Run, _: AffinityMatrix) -> tuple[Plan, str]:
    """The plan of the best grouping by predicted gains, and a summary."""
    settings, tasks = run.settings, run.problem.names
    check_method(settings, len(tasks))
    run.console.print("Predicting the gains of all groups with one linearized network ...")
    surrogate = GradientSurrogate()
    groups = [
        [name for name, is_member in zip(tasks, group, strict=True) if is_member]
        for group in all_groups(len(tasks)).tolist()
    ]
    predicted = surrogate(run.problem, settings.seed).predict(groups)
    budget = len(tasks) if settings.budget is None else run.budget()
    weighted = weigh_gains(predicted, run.problem)
    best = solve(weighted, budget, overlap=settings.overlap)
    chosen = prefer_simple(weighted, best, budget, settings.tolerance)
    provenance = _provenance(run, settings.budget)
    plan = plan_from_predictions(predicted, chosen, repr(surrogate), provenance)
    reason = (
        "best of all groupings by predicted gain"
        if chosen is best
        else f"no grouping is predicted to gain {100 * settings.tolerance:g} % more"
    )
    return plan, f"{count_networks(plan)}, {reason}"


_METHODS = {"race": _by_race, "surrogate": _by_surrogate, "affinity": _by_affinity}


def _provenance(run: Run, budget: int | None) -> PlanProvenance:
    return PlanProvenance(problem=run.directory.record.problem, budget=budget)


def _fill_gaps(run: Run) -> AffinityMatrix:
    """Pairs that were never measured count as 0: neither help nor harm is known."""
    matrix = run.matrix
    n_missing = int((matrix.values.isnan() & ~torch.eye(len(matrix.tasks)).bool()).sum())
    if n_missing:
        pairs = count(n_missing, "pair")
        text = f"{pairs} of tasks were never measured together; their affinity is taken as 0."
        print_note(run.console, text)
    return replace(matrix, values=matrix.values.nan_to_num(nan=0.0))


def weigh_targets(matrix: AffinityMatrix, problem: Problem) -> AffinityMatrix:
    """The affinities with each target's column multiplied by its weight over the mean weight."""
    weights = _relative_weights(problem)
    if set(weights.values()) == {1.0}:
        return matrix
    of_targets = torch.tensor([weights[name] for name in matrix.tasks]).to(matrix.values)
    return replace(matrix, values=matrix.values * of_targets)


def weigh_gains(predicted: GroupScores, problem: Problem) -> GroupScores:
    """The gains of each task multiplied by its weight over the mean weight."""
    weights = _relative_weights(problem)
    return replace(
        predicted,
        candidates=tuple(
            replace(each, scores={task: weights[task] * gain for task, gain in each.scores.items()})
            for each in predicted.candidates
        ),
    )


def _relative_weights(problem: Problem) -> dict[str, float]:
    mean = sum(task.weight for task in problem.tasks) / len(problem.tasks)
    return {task.name: task.weight / mean for task in problem.tasks}


def _frontier_csv(run: Run, matrix: AffinityMatrix, budget: int | None) -> str:
    """The best grouping by affinity for every budget; up to 8 or the budget if tasks are many."""
    n_tasks = len(matrix.tasks)
    is_small = n_tasks <= _MOST_TASKS_FOR_EVERY_BUDGET
    best = frontier(
        weigh_targets(matrix, run.problem),
        largest=n_tasks if is_small else max(_LARGEST_BUDGET, budget or 0),
        overlap=run.settings.overlap,
        time_limit=frontier_seconds(n_tasks),
    )
    rows = [
        {
            "budget": budget,
            "score": grouping.score,
            "bound": grouping.bound,
            "proven_best": grouping.is_optimal,
            "serves": _to_json(network.served for network in grouping.networks),
            "trains": _to_json(network.trained for network in grouping.networks),
        }
        for budget, grouping in best.items()
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def _to_json(groups: Iterable[frozenset[str]]) -> str:
    return json.dumps([sorted(tasks) for tasks in groups], ensure_ascii=False)
