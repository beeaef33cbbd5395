"""The stage that retrains: a plan beside its baselines, measured and judged."""

import shlex
from dataclasses import replace
from pathlib import Path

from affinity.audit import Audit, AuditContext, Candidate, RaceResult, TrainedPlan, retrain
from affinity.cli.run_files import (
    AFFINITY,
    AUDIT,
    MEASUREMENTS,
    PLAN,
    PREDICTIONS,
    RACE_RESULT,
    TRAINED,
    TRAININGS,
)
from affinity.cli.summary import networks_in
from affinity.cli.work import Work
from affinity.errors import InputError
from affinity.files import write_atomically
from affinity.recommendation import Plan
from affinity.recording import RecordingCost
from affinity.statistics import NegativeTransferTest
from affinity.storage import load_as, save
from affinity.words import count

from .estimate import matrix_of


def chosen_plan(work: Work, choice: str | None) -> Plan:
    """The run's plan.yaml, or another: a file, "separate" or "all-in-one"."""
    names = work.problem.names
    if choice == "separate":
        return Plan.separate(names)
    if choice == "all-in-one":
        return Plan.all_in_one(names)
    file = work.run.file(PLAN) if choice is None else Path(choice)
    if choice is None and not file.exists():
        raise InputError(
            f"Expected a plan in {str(work.run.path)!r}, but there is none. Make it (affinity "
            f"group {shlex.quote(str(work.run.path))}), or give one with --plan."
        )
    return Plan.from_yaml(file, tasks=names)


def retrained(work: Work, plan: Plan, *, keep: bool = False, backend: str | None = None) -> Audit:
    """The plan beside its baselines, measured; trainings that were finished count."""
    if keep:
        TrainedPlan.encoder_of(work.problem)
    replicates = work.options.replicates_for(len(work.problem.tasks))
    growth = work.options.growth()
    matrix = matrix_of(work) if work.run.is_done("estimate") else None
    inputs = {
        "width": plan.width,
        "networks": [
            [sorted(network.trained), sorted(network.served), sharing]
            for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
        ],
        "affinity": work.run.hash_of(AFFINITY) if matrix is not None else None,
        "replicates": replicates,
        "baselines": work.options.baselines,
        "growth": growth,
        "tolerance": work.options.tolerance,
    }
    noted = work.run.noted("retrain")
    is_kept = noted is not None and TRAINED in noted["outputs"]
    if work.run.is_done("retrain", inputs) and (is_kept or not keep):
        work.stands("The audit", AUDIT)
        return Audit.load(work.run.file(MEASUREMENTS))
    work.console.print(
        f"Retraining the plan ({networks_in(plan)}) beside its baselines, "
        f"{count(replicates, 'replicate')}{' at first' if growth else ''} ..."
    )
    outputs = [AUDIT, MEASUREMENTS, *([TRAINED, PREDICTIONS] if keep else ())]
    body, cost = work.run.body(), (work.run.noted("record") or {}).get("cost")
    with work.run.stage("retrain", inputs, outputs):
        audit = retrain(
            plan,
            work.problem,
            replicates,
            seed=work.options.seed + 1,
            baselines=work.options.chosen_baselines(),
            **growth,
            test=NegativeTransferTest(tolerance=work.options.tolerance),
            matrix=matrix,
            context=AuditContext(
                command=body["command"],
                versions=body["versions"],
                seed=work.options.seed,
                every=work.options.every,
                budget=plan.provenance.budget,
                seconds={
                    stage: noted["seconds"]
                    for stage in ("record", "estimate", "group")
                    if (noted := work.run.noted(stage)) is not None
                },
                recording=None if cost is None else RecordingCost(**cost),
                race=_race_of(work, plan),
            ),
            keep=keep,
            store=work.run.file(TRAININGS),
            backend=backend,
        )
        if keep:
            kept = TrainedPlan.from_audit(audit, work.problem, seed=work.options.seed + 1)
            kept.save(work.run.file(TRAINED))
            frame = kept.test_predictions(audit, work.problem)
            write_atomically(work.run.file(PREDICTIONS), frame.to_csv(index_label="row"))
        save(replace(audit, networks={}), work.run.file(MEASUREMENTS))
        audit.to_json(work.run.file(AUDIT))
    work.wrote("retrain", count(audit.gains.n_replicates, "replicate"), outputs)
    return audit


def audit_of(work: Work) -> Audit:
    """The audit in the folder."""
    work.run.require("retrain")
    return Audit.load(work.run.file(MEASUREMENTS))


def _race_of(work: Work, plan: Plan) -> tuple[Candidate, ...]:
    """The candidates of the race that made this plan; none if none did."""
    is_raced = RACE_RESULT in (work.run.noted("group") or {"outputs": ()})["outputs"]
    is_own = is_raced and plan == Plan.from_yaml(work.run.file(PLAN))
    if not is_own:
        return ()
    return load_as(RaceResult, work.run.file(RACE_RESULT)).candidates
