"""Measure transfer: tune every target from every source, and from scratch, on each replicate."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.tasks import Replicate
from affinity.training import Store, TrainedNetwork, TrainingSettings

from .recipes import FromScratch, FullFineTuning, Recipe
from .sources import Sources, check_fit, learn_sources
from .transfer import Scores, Transfer
from .tune import TuningJob, plan_for, tune
from .tuning_plan import TuningPlan


def measure_transfer(
    problem: Problem,
    recipe: Recipe | TuningPlan | None = None,
    sources: Sources | None = None,
    replicates: int | Sequence[Replicate] = 5,
    targets: Sequence[str] | None = None,
    seed: int = 0,
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
) -> Transfer:
    """Measure the gain of every source on every target, by one recipe.

    From scratch and from every source a network has the same head to begin with and sees the same
    rows in the same order; networks are trained many at once.

    Args:
        problem: Tasks, trunk and heads.
        recipe: How targets are tuned; full fine-tuning if None.
        sources: From `learn_sources`; each task, all others, and the target's own inputs if None.
        replicates: How many; or draws of rows of the targets, as many as the sources have. The
            sources' own where `sources` is given and this is a number.
        targets: The tasks to bring sources to; all if None.
        seed: Of the replicates.
        settings: How to train; the problem's own if None.
        store: A folder in which finished tunings are kept; the same call does what is missing.

    Raises:
        InputError: If a target is unknown, or replicates or trunks do not fit.

    Example:
        >>> from affinity.problems import planted
        >>> problem = planted(n_rows=60).with_settings(TrainingSettings(epochs=2))
        >>> transfer = measure_transfer(problem, replicates=2, targets=["a1", "b1"])
        >>> sorted(transfer.frame()["target"].unique())
        ['a1', 'b1']
    """
    targets = list(problem.names if targets is None else targets)
    if unknown := [name for name in targets if name not in problem.names]:
        raise InputError(f"Expected targets among {problem.names}, but got {unknown}.")
    settings = settings or problem.settings
    if isinstance(replicates, int):
        on = problem.replicates(replicates, seed) if sources is None else list(sources.replicates)
    else:
        on = list(replicates)
    sources = sources or learn_sources(problem, on, targets=targets, settings=settings)
    if len(on) != len(sources.replicates):
        raise InputError(
            f"Expected as many replicates as the sources have, {len(sources.replicates)}, but got "
            f"{len(on)}."
        )
    check_fit(problem, sources, targets)
    plan = plan_for(problem, recipe or FullFineTuning(), settings.epochs)
    scratch = plan_for(problem, FromScratch(), settings.epochs)
    kept = None if store is None else Store(Path(store))
    nothing: dict[str, Tensor] = {}
    baseline = tune(
        problem,
        scratch,
        [TuningJob(target, at, nothing) for target in targets for at in range(len(on))],
        on,
        settings,
        store=kept,
    )
    cells = [
        (row, column, at)
        for row, source in enumerate(sources.names)
        for column, target in enumerate(targets)
        if target in sources.trunks[source]
        for at in range(len(on))
    ]
    jobs = [
        TuningJob(targets[column], at, sources.trunks[sources.names[row]][targets[column]][at])
        for row, column, at in cells
    ]
    tuned = tune(problem, plan, jobs, on, settings, store=kept)
    is_measured = torch.zeros(len(sources.names), len(targets), dtype=torch.bool)
    for row, column, _ in cells:
        is_measured[row, column] = True
    alone = [(0, column, at) for column in range(len(targets)) for at in range(len(on))]
    return Transfer(
        problem=problem.name,
        sources=sources.names,
        targets=tuple(targets),
        recipe=plan.recipe,
        tuned=_scores(tuned, cells, (len(sources.names), len(on), len(targets))),
        scratch=_scores(baseline, alone, (1, len(on), len(targets))),
        is_measured=is_measured,
        context={"seeds": [replicate.seed for replicate in on], "settings": str(settings)},
        seconds=sum(result.seconds for result in tuned),
    )


def _scores(
    results: Sequence[TrainedNetwork],
    cells: Sequence[tuple[int, int, int]],
    shape: tuple[int, int, int],
) -> Scores:
    """Losses by source, replicate and target."""
    test = torch.full(shape, torch.nan, dtype=torch.double)
    evaluation = torch.full_like(test, torch.nan)
    n_blocks = max((len(b) for r in results for b in r.test_blocks.values()), default=0)
    blocks = torch.full((*shape, n_blocks), torch.nan)
    for (row, column, at), result in zip(cells, results, strict=True):
        (target,) = result.tasks
        test[row, at, column] = result.test_loss[target]
        evaluation[row, at, column] = result.evaluation_loss[target]
        own = result.test_blocks.get(target, [])
        blocks[row, at, column, : len(own)] = torch.tensor(own)
    return Scores(test, evaluation, blocks)
