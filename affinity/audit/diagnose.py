"""Diagnosing: remove possible causes of harm one at a time, on the same replicates."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from affinity.problems import NetworkTrainer, Problem
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.tasks import Score, check_names
from affinity.tasks.score import common_unit
from affinity.training import Trainer

from .causes import CAUSES, Cause, CauseResult, DiagnosisContext
from .context import AuditContext
from .diagnosis import Diagnosis
from .limitations import Limitation
from .measure_sharing import choose_strengths
from .trainings import FIRST_SEED, check_plans


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
    - *data*: a quarter and half of the training rows;
    - *overfitting*: losses on training rows compared with selection rows, and more sharing;
    - *mismatch*: the harm that remains in wider trunks with losses on one scale and longer
      training; then trunks that branch, and harmed tasks in separate networks.

    Costs about fifteen times as much as the separate networks alone.

    Args:
        replicates: Number of replicates (new data split and seed each); intervals need two.
        trace: A recorded run of all tasks in one network, with its layers; if None, it is recorded
            when needed.
        instead: A plan with less sharing that is tried as an intervention.
        causes: The causes to measure: entries of `CAUSES`, or the same classes with other settings.
        store: A folder in which finished trainings are kept, so that a stopped diagnosis resumes.

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
    check_plans(problem.names, replicates, explained, instead)
    trainer = NetworkTrainer(problem, store)
    seeds = problem.replicate_seeds(replicates, seed)
    explained = choose_strengths(explained, problem, seeds)
    instead = None if instead is None else choose_strengths(instead, problem, seeds)
    trainings = DiagnosisContext(trainer, trainer.tasks, explained, seeds, trace, instead)
    return _diagnosis(problem.name, trainings, causes, context)


def diagnose_plan(
    plan: Plan,
    trainer: Trainer,
    tasks: Mapping[str, Score | str],
    replicates: int = 6,
    *,
    seed: int = FIRST_SEED,
    instead: Plan | None = None,
    causes: Mapping[str, Cause] = CAUSES,
    retries: int = 1,
    name: str = "trainings",
    trace: Trace | None = None,
    context: AuditContext | None = None,
) -> Diagnosis:
    """Diagnose negative transfer with any trainer: `diagnose` for your own training code.

    Only interventions are tried that the trainer offers: another ``width``, a longer training
    (``length``), fewer ``rows``, each task's own best epoch (``stop``). Others are listed as not
    tested.

    Args:
        tasks, replicates, seed, retries: As for `audit_plan`.
        instead, causes: As for `diagnose`.
        trace: A recorded run of all tasks in one network, for the conflicts of gradients.

    Raises:
        InputError: If the plan does not serve the tasks, or `replicates` is below 1.

    Example:
        >>> from affinity.training import FunctionTrainer
        >>> def train(tasks, seed, width=1.0):  # too small for two tasks
        ...     score = 0.8 - 0.1 * (len(tasks) - 1) / width + 0.001 * seed
        ...     return dict.fromkeys(tasks, score)
        >>> plan, tasks = Plan.all_in_one(("a", "b")), {"a": "maximize", "b": "maximize"}
        >>> diagnosis = diagnose_plan(plan, FunctionTrainer(train), tasks, 3)
        >>> diagnosis.cause, diagnosis.remedies[0].change.name
        ('capacity', '4 times the width')
    """
    scores = {task: Score.of(score) for task, score in tasks.items()}
    check_plans(check_names(tuple(scores)), replicates, plan, instead)
    seeds = range(seed, seed + replicates)
    trainings = DiagnosisContext(trainer, scores, plan, seeds, trace, instead, retries)
    return _diagnosis(name, trainings, causes, context)


def _diagnosis(
    name: str,
    trainings: DiagnosisContext,
    causes: Mapping[str, Cause],
    context: AuditContext | None,
) -> Diagnosis:
    evaluation_harm, test_harm = trainings.harm(trainings.joint)
    known = np.isfinite(evaluation_harm)
    context = context or AuditContext()
    if left_out := [s for n, s in enumerate(trainings.seeds) if n not in trainings.replicates]:
        message = (
            "A training of the plan or of a separate network failed. Replicates with the seeds "
            f"{left_out} were left out."
        )
        context = replace(context, limits=(*context.limits, Limitation("failed-training", message)))
    return Diagnosis(
        problem=name,
        tasks=trainings.names,
        plan=trainings.plan,
        harmed=trainings.harmed,
        together=trainings.are_harmed_together,
        evaluation_harm=evaluation_harm,
        test_harm=test_harm,
        results=tuple(_without_failed(cause(trainings), known) for cause in causes.values()),
        context=context,
        unit=common_unit(trainings.tasks.values()),
    )


def _without_failed(result: CauseResult, known: np.ndarray) -> CauseResult:
    """The result, with changes whose trainings failed in some replicate as not tested."""
    complete, failed = [], []
    for change in result.changes:
        has_all = bool((np.isfinite(change.evaluation) >= known).all())
        (complete if has_all else failed).append(change)
    skipped = (f"{change.name}: its trainings failed" for change in failed)
    return replace(result, changes=tuple(complete), skipped=(*result.skipped, *skipped))
