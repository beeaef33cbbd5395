"""Diagnosing: remove possible causes of harm one at a time, on the same replicates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.recommendation import Plan
from affinity.recording import Trace

from .causes import CAUSES, Cause, DiagnosisContext
from .context import AuditContext
from .diagnosis import Diagnosis


def diagnose(
    problem: Problem,
    plan: Plan | Literal["all-in-one"] = "all-in-one",
    replicates: int = 6,
    *,
    seed: int = 1,
    trace: Trace | None = None,
    instead: Plan | None = None,
    causes: Mapping[str, Cause] = CAUSES,
    store: str | Path | None = None,
    context: AuditContext | None = None,
) -> Diagnosis:
    """Diagnose negative transfer: why a plan does worse than separate networks.

    For each cause, one thing is changed while everything else (rows, seeds, order) stays the same,
    and the harm is measured again:

    - *capacity*: trunks of two and four times the width, also for the separate networks;
    - *optimization*: losses on one scale, longer training, each task at its own best epoch,
      GradNorm, PCGrad;
    - *data*: a quarter and half of the training rows, and more sharing;
    - *mismatch*: the harm that remains in wider trunks with losses on one scale and longer
      training; then trunks that branch, and harmed tasks in separate networks.

    Costs about fifteen times as much as the separate networks alone.

    Args:
        problem: Tasks, rows, trunk and heads.
        plan: The plan to explain.
        replicates: Number of replicates (new data split and seed each); intervals need two.
        seed: Random seed of the replicates.
        trace: A recorded run of all tasks in one network, with its layers; if None, it is recorded
            when needed.
        instead: A plan with less sharing that is tried as an intervention.
        causes: The causes to measure: entries of `CAUSES`, or the same classes with other settings.
        store: A folder in which finished trainings are kept, so that a stopped diagnosis resumes.
        context: How the problem and the plan were made, for the report.

    Raises:
        InputError: If the plan does not serve the problem's tasks, or `replicates` is below 1.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity import TrainingSettings
        >>> problem = load_digits(width=8).with_settings(TrainingSettings(epochs=1))
        >>> diagnosis = diagnose(problem, replicates=2, causes={"capacity": CAUSES["capacity"]})
        >>> [change.name for change in diagnosis.changes]
        ['2 times the width', '4 times the width']
    """
    explained = Plan.all_in_one(problem.names) if isinstance(plan, str) else plan
    for each in (explained, instead):
        if each is not None and each.grouping.tasks != frozenset(problem.names):
            raise InputError(
                f"Expected a plan for the tasks {problem.names}, but it serves "
                f"{tuple(sorted(each.grouping.tasks))}.",
                "different-tasks",
            )
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.", "no-replicates")
    trainings = DiagnosisContext(
        problem=problem,
        plan=explained,
        replicates=problem.replicates(replicates, seed),
        trace=trace,
        instead=instead,
        store=None if store is None else Path(store),
    )
    evaluation_harm, test_harm = trainings.harm(trainings.joint)
    return Diagnosis(
        problem=problem.name,
        tasks=problem.names,
        plan=explained,
        harmed=trainings.harmed,
        together=trainings.are_harmed_together,
        evaluation_harm=evaluation_harm,
        test_harm=test_harm,
        results=tuple(cause(trainings) for cause in causes.values()),
        context=context or AuditContext(),
    )
