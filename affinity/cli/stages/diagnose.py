"""The stage that diagnoses: why sharing harms, by taking one cause after the other away."""

from typing import Any

from affinity.audit import CAUSES, AuditContext, Diagnosis, diagnose
from affinity.audit.causes import QUICK_CAUSES
from affinity.cli.run_files import DIAGNOSIS, DIAGNOSIS_RESULT, PLAN, TRAININGS
from affinity.cli.work import Work
from affinity.recommendation import Plan
from affinity.storage import load_as, save
from affinity.words import count

from .retrain import chosen_plan

REPLICATES = 6


def diagnosed(
    work: Work, choice: str | None = None, replicates: int = REPLICATES, quick: bool = False
) -> Diagnosis:
    """Why one network for all tasks, or another arrangement, harms; kept in the run's folder.

    The run's own plan is tried as a way to share less.

    Args:
        work: A run that was recorded.
        choice: A plan: a file, "separate" or "all-in-one", which is the default.
        replicates: How many.
        quick: Whether to make the changes that cost least alone (`QUICK_CAUSES`).
    """
    run = work.run
    plan = chosen_plan(work, choice or "all-in-one")
    own = chosen_plan(work, None) if run.file(PLAN).exists() else None
    inputs = {
        "networks": _plain(plan),
        "instead": None if own is None else _plain(own),
        "replicates": replicates,
        "quick": quick,
    }
    if run.is_done("diagnose", inputs):
        work.stands("The diagnosis", DIAGNOSIS)
        return load_as(Diagnosis, run.file(DIAGNOSIS_RESULT))
    work.console.print(
        f"Taking causes of harm away, one after the other, {count(replicates, 'replicate')} ..."
    )
    with run.stage("diagnose", inputs, [DIAGNOSIS, DIAGNOSIS_RESULT]):
        diagnosis = diagnose(
            work.problem,
            plan,
            replicates,
            seed=work.options.seed + 1,
            instead=own,
            causes=QUICK_CAUSES if quick else CAUSES,
            store=run.file(TRAININGS),
            context=AuditContext(seed=work.options.seed, versions=run.body()["versions"]),
        )
        diagnosis.to_json(run.file(DIAGNOSIS))
        save(diagnosis, run.file(DIAGNOSIS_RESULT))
    work.wrote("diagnose", f"{len(diagnosis.changes)} changes measured", [DIAGNOSIS])
    return diagnosis


def diagnosis_of(work: Work) -> Diagnosis | None:
    """What `diagnosed` found in this run; None where it was not asked."""
    if not work.run.is_done("diagnose"):
        return None
    return load_as(Diagnosis, work.run.file(DIAGNOSIS_RESULT))


def _plain(plan: Plan) -> list[list[Any]]:
    return [
        [sorted(network.trained), sorted(network.served), sharing]
        for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
    ]
