"""The stage that groups: a plan within the budget, by a race, a forecast, or affinity alone."""

import shlex
from dataclasses import replace

import torch
from rich.markup import escape

from affinity.audit import ENDED, measure_sharing
from affinity.audit.candidates import LISTED
from affinity.cli.frontier_file import frontier_csv
from affinity.cli.racing import candidate_of, fits, race, write_race
from affinity.cli.run_files import AFFINITY, FRONTIER, PLAN, RACE, RACE_RESULT, TRACE, TRAININGS
from affinity.cli.summary import networks_in, show_race
from affinity.cli.work import Work
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, GradientSurrogate
from affinity.files import write_atomically
from affinity.grouping import all_groups, prefer_simple, solve
from affinity.recommendation import (
    Plan,
    PlanProvenance,
    plan_from_predictions,
    recommend,
    share_as_measured,
)
from affinity.recording import Trace
from affinity.words import count

from .estimate import matrix_of


def grouped(work: Work, matrix: AffinityMatrix | None = None, trace: Trace | None = None) -> Plan:
    """A grouping within the budget, and the plan made of it; an edited plan is kept."""
    matrix = matrix or matrix_of(work)
    budget = work.options.budget_for(len(matrix.tasks))
    way = _way(work)
    inputs = {
        "affinity": work.run.hash_of(AFFINITY),
        "budget": budget,
        "overlap": work.options.overlap,
        "sharing": work.options.sharing,
        "way": way,
        "race": work.options.race_minutes if way == "race" else None,
        "tolerance": None if way == "affinity" else work.options.tolerance,
    }
    noted, file = work.run.noted("group"), work.run.file(PLAN)
    is_edited = file.exists() and (
        noted is None or noted["outputs"][PLAN] != work.run.hash_of(PLAN)
    )
    if noted is not None and noted["inputs"] == inputs and file.exists():
        if is_edited:
            work.console.print(f"{escape(str(file))} was edited; it is taken as it stands.")
        else:
            work.stands("The plan", PLAN)
        return Plan.from_yaml(file, tasks=matrix.tasks)
    if is_edited:
        raise InputError(
            f"Expected to write the plan to {str(file)!r}, but a plan that was edited stands "
            "there, made from other affinities or another budget. Audit it (affinity retrain "
            f"{shlex.quote(str(work.run.path))}), or move it away to group again."
        )
    outputs = [PLAN, FRONTIER, *([RACE, RACE_RESULT] if way == "race" else ())]
    with work.run.stage("group", inputs, outputs):
        origin = PlanProvenance(problem=work.run.body()["problem"], budget=budget)
        known = _without_gaps(work, matrix)
        frontier = frontier_csv(known, budget, work.options.overlap)
        write_atomically(work.run.file(FRONTIER), frontier)
        plan, did = _BY[way](work, known, trace, origin)
        if work.options.sharing == "measured":
            work.console.print("Training each network in every way to share ...")
            seed = work.options.seed + 2
            measured = measure_sharing(work.problem, plan.grouping, seed=seed)
            plan = share_as_measured(plan, measured)
        plan.to_yaml(file)
    work.wrote("group", did, outputs)
    return plan


def _way(work: Work) -> str:
    """How to group: as asked for, else the best way that the time and the tasks allow."""
    options = work.options
    if options.verify is not None:
        return options.verify
    if not options.overlap and fits(
        work.problem, options, (work.run.noted("record") or {})["seconds"]
    ):
        return "race"
    way = "surrogate" if len(work.problem.tasks) <= LISTED else "affinity"
    by = {"surrogate": "what a linearized network foretells", "affinity": "affinity alone"}[way]
    work.console.print(
        f"Grouping by {by}, since a race is not likely to end within {options.race_minutes:g} "
        "minutes or groups may overlap (--verify race --race-minutes 30 races nevertheless)."
    )
    return way


def _by_affinity(
    work: Work, matrix: AffinityMatrix, _: Trace | None, origin: PlanProvenance
) -> tuple[Plan, str]:
    """The plan that affinity alone makes, and what to say of it."""
    grouping = solve(matrix, budget=origin.budget or 1, overlap=work.options.overlap)
    certificate = (
        "proven best within the budget"
        if grouping.is_optimal
        else f"not proven best, at most {grouping.gap:.3g} below"
        if grouping.gap is not None
        else "not proven best"
    )
    plan = recommend(matrix, grouping, origin)
    return plan, f"{networks_in(plan)}, {certificate} by affinity"


def _by_race(
    work: Work, matrix: AffinityMatrix, trace: Trace | None, origin: PlanProvenance
) -> tuple[Plan, str]:
    """The plan that wins a race, and what to say of it."""
    work.console.print("Racing contending groupings, a round of trainings after the other ...")
    trace = trace or Trace.load(work.run.file(TRACE))
    store = work.run.file(TRAININGS)
    raced = race(work.problem, work.options, matrix, trace, store)
    write_race(raced, work.run.file(RACE), work.run.file(RACE_RESULT))
    show_race(work.console, raced)
    plan = raced.to_plan(candidate_of(work.options), origin)
    return plan, f"{networks_in(plan)}, {raced.trainings} trainings, {ENDED[raced.ended]}"


def _by_surrogate(
    work: Work, _: AffinityMatrix, __: Trace | None, origin: PlanProvenance
) -> tuple[Plan, str]:
    """The plan of what a linearized network foretells of every group, and what to say of it."""
    options, tasks, budget = work.options, work.problem.names, origin.budget or 1
    if len(tasks) > LISTED:
        raise InputError(
            f"Expected at most {LISTED} tasks, so that a linearized network can foretell every "
            f"group, but got {len(tasks)}: race, or group by affinity alone (--verify affinity)."
        )
    work.console.print("Linearizing one network for all tasks ...")
    surrogate = GradientSurrogate()
    groups = [
        [name for name, is_in in zip(tasks, group, strict=True) if is_in]
        for group in all_groups(len(tasks)).tolist()
    ]
    scores = surrogate(work.problem, options.seed).predict(groups)
    grouping = solve(scores, budget, overlap=options.overlap)
    room = len(tasks) if options.budget is None else budget
    chosen = prefer_simple(scores, grouping, room, options.tolerance)
    plan = plan_from_predictions(scores, chosen, repr(surrogate), origin)
    why = "best of every grouping by what was foretold"
    if chosen is not grouping:
        why = f"since no grouping was foretold to gain {100 * options.tolerance:g}% more"
    return plan, f"{networks_in(plan)}, {why}"


_BY = {"race": _by_race, "surrogate": _by_surrogate, "affinity": _by_affinity}


def _without_gaps(work: Work, matrix: AffinityMatrix) -> AffinityMatrix:
    """Pairs that were never measured count as 0: neither help nor harm is known."""
    n_missing = int((matrix.values.isnan() & ~torch.eye(len(matrix.tasks)).bool()).sum())
    if n_missing:
        work.console.print(
            f"[yellow]Note:[/yellow] {count(n_missing, 'pair')} of tasks never measured "
            "together: taken as 0."
        )
    return replace(matrix, values=matrix.values.nan_to_num(nan=0.0))
