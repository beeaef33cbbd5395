"""Diagnose stage: the causes of negative transfer, tested one by one."""

from affinity.audit import CAUSES, AuditContext, diagnose
from affinity.audit.causes import QUICK_CAUSES
from affinity.cli.options import DiagnoseOptions
from affinity.cli.run import Run
from affinity.cli.run_directory import DIAGNOSIS, DIAGNOSIS_JSON, PLAN, TRAININGS
from affinity.storage import save
from affinity.words import count

from .retrain import describe_networks, find_plan


def diagnose_stage(
    run: Run,
    choice: str = DiagnoseOptions.plan,
    replicates: int = DiagnoseOptions.replicates,
    quick: bool = False,
) -> None:
    """Find out why a plan harms; the diagnosis is in `run.diagnosis`.

    The plan is a file, "separate" or "all-in-one"; the run's own is tried as a way to share less.
    With `quick`, only the cheapest interventions are tested (`QUICK_CAUSES`).
    """
    directory = run.directory
    plan = find_plan(run, choice)
    alternative = find_plan(run) if directory.file(PLAN).exists() else None
    inputs: dict[str, object] = {
        "networks": describe_networks(plan),
        "instead": None if alternative is None else describe_networks(alternative),
        "plan": None if alternative is None else directory.hash_of(PLAN),
        "replicates": replicates,
        "quick": quick,
    }
    if directory.is_done("diagnose", inputs):
        run.print_skipped("diagnose", DIAGNOSIS_JSON)
        return
    run.console.print(
        f"Removing possible causes of harm one by one, {count(replicates, 'replicate')} ..."
    )
    outputs = [DIAGNOSIS, DIAGNOSIS_JSON]
    with directory.stage("diagnose", inputs, outputs):
        diagnosis = diagnose(
            run.problem,
            plan,
            replicates,
            seed=run.settings.seed + 1,
            instead=alternative,
            causes=QUICK_CAUSES if quick else CAUSES,
            store=directory.file(TRAININGS),
            context=AuditContext(seed=run.settings.seed, versions=directory.record.versions),
        )
        save(diagnosis, directory.file(DIAGNOSIS))
        diagnosis.to_json(directory.file(DIAGNOSIS_JSON))
    run.diagnosis = diagnosis
    summary = count(len(diagnosis.changes), "intervention")
    run.print_finished("diagnose", summary, outputs)
