"""Objectives stage: one plan trained with each way to combine the losses of its tasks."""

from collections.abc import Sequence

from affinity.audit import AuditContext, ObjectiveComparison, compare_objectives
from affinity.audit.causes import by_loss_scale
from affinity.cli.run import Run
from affinity.cli.run_directory import OBJECTIVES, OBJECTIVES_JSON, TRAININGS
from affinity.errors import check_known
from affinity.statistics import NegativeTransferTest
from affinity.storage import save
from affinity.training import OBJECTIVES as ALL
from affinity.training import Objective, Weighted, make_objective
from affinity.words import count

from .retrain import describe_networks, find_plan

REPLICATES = 5


def objectives_stage(
    run: Run, choice: str | None = None, replicates: int | None = None, names: Sequence[str] = ()
) -> ObjectiveComparison:
    """Compare objectives (all without `names`); the comparison is in `run.objectives`, too.

    The plan is a file, "separate" or "all-in-one" (the default).
    """
    directory, settings = run.directory, run.settings
    plan, replicates = find_plan(run, choice or "all-in-one"), replicates or REPLICATES
    objectives = _objectives(run, names)
    inputs: dict[str, object] = {
        "networks": describe_networks(plan),
        "objectives": {name: repr(objective) for name, objective in objectives.items()},
        "replicates": replicates,
        "tolerance": settings.tolerance,
    }
    if directory.is_done("objectives", inputs) and run.objectives is not None:
        run.print_skipped("objectives", OBJECTIVES_JSON)
        return run.objectives
    run.console.print(
        f"Training with {count(len(objectives), 'objective')}, {count(replicates, 'replicate')} ..."
    )
    outputs = [OBJECTIVES, OBJECTIVES_JSON]
    with directory.stage("objectives", inputs, outputs):
        comparison = compare_objectives(
            run.problem,
            plan,
            objectives,
            replicates,
            seed=settings.seed + 1,
            test=NegativeTransferTest(tolerance=settings.tolerance),
            store=directory.file(TRAININGS),
            context=AuditContext(
                seed=settings.seed,
                versions=directory.record.versions,
                notes=run.problem.notes,
            ),
        )
        save(comparison, directory.file(OBJECTIVES))
        comparison.to_json(directory.file(OBJECTIVES_JSON))
    run.objectives = comparison
    run.print_finished("objectives", count(len(comparison.scores), "objective"), outputs)
    return comparison


def _objectives(run: Run, names: Sequence[str]) -> dict[str, Objective]:
    """The objectives by name; the run's own has its settings."""
    weighted = Weighted(tuple(by_loss_scale(run.problem).items()))
    known = {**ALL, "weighted": weighted}
    name = run.settings.objective
    known[name] = make_objective(name, run.settings.objective_settings)
    check_known("objectives", names, known, "unknown-objective")
    return {name: known[name] for name in names or known}
