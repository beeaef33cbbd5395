"""Measurement of transfer: fine-tune every target from every source, and train it from scratch."""

from collections.abc import Sequence
from pathlib import Path

import torch

from affinity.errors import check_known, check_same
from affinity.problems import Problem
from affinity.tasks import Replicate
from affinity.training import Store, TrainedNetwork, TrainingSettings

from .recipes import FullFineTuning, Recipe, TrainingFromScratch
from .sources import Sources, check_trunks, learn_sources
from .transfer import Transfer, TransferLosses
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
    """Measure the gain of every source on every target with one recipe.

    A network has the same random head and sees the same rows in the same order, whether it starts
    from scratch or from a source; many networks are trained at once.

    Args:
        recipe: How targets are fine-tuned; full fine-tuning if None.
        sources: From `learn_sources`; each task, all others, and the control if None.
        replicates: Number of replicates; or data splits of the targets, one per replicate of the
            sources. If `sources` is given and this is a number, the sources' own splits are used.
        targets: The tasks to transfer to; all if None.
        store: A folder of finished trainings; repeating the call only does what is missing.

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
    check_known("targets", targets, problem.names, "unknown-task")
    settings = settings or problem.settings
    if not isinstance(replicates, int):
        splits = list(replicates)
    elif sources is None:
        splits = problem.replicates(replicates, seed)
    else:
        splits = list(sources.replicates)
    sources = sources or learn_sources(problem, splits, targets=targets, settings=settings)
    n_replicates = len(sources.replicates)
    check_same("the number of replicates", len(splits), n_replicates, "different-replicates")
    check_trunks(problem, sources, targets)
    plan = plan_for(problem, recipe or FullFineTuning(), settings.epochs)
    scratch_plan = plan_for(problem, TrainingFromScratch(), settings.epochs)
    trainings = None if store is None else Store(Path(store))
    numbers = range(len(splits))
    scratch_cells = [(0, column, number) for column in range(len(targets)) for number in numbers]
    scratch_jobs = [TuningJob(targets[column], number, {}) for _, column, number in scratch_cells]
    scratch = tune(problem, scratch_plan, scratch_jobs, splits, settings, store=trainings)
    is_measured = torch.tensor(
        [[target in sources.trunks[source] for target in targets] for source in sources.names],
        dtype=torch.bool,
    ).reshape(len(sources.names), len(targets))
    cells = [
        (row, column, number)
        for row, column in is_measured.nonzero().tolist()
        for number in numbers
    ]
    jobs = [
        TuningJob(
            targets[column], number, sources.trunks[sources.names[row]][targets[column]][number]
        )
        for row, column, number in cells
    ]
    tuned = tune(problem, plan, jobs, splits, settings, store=trainings)
    return Transfer(
        problem=problem.name,
        sources=sources.names,
        targets=tuple(targets),
        recipe=plan.recipe,
        tuned=_losses(tuned, cells, (len(sources.names), len(splits), len(targets))),
        scratch=_losses(scratch, scratch_cells, (1, len(splits), len(targets))),
        is_measured=is_measured,
        context={"seeds": [replicate.seed for replicate in splits], "settings": str(settings)},
        seconds=sum(result.seconds for result in tuned),
    )


def _losses(
    results: Sequence[TrainedNetwork],
    cells: Sequence[tuple[int, int, int]],
    shape: tuple[int, int, int],
) -> TransferLosses:
    """Losses by source, replicate and target."""
    test = torch.full(shape, torch.nan, dtype=torch.double)
    evaluation = torch.full_like(test, torch.nan)
    n_blocks = max((len(b) for r in results for b in r.test_blocks.values()), default=0)
    blocks = torch.full((*shape, n_blocks), torch.nan)
    for (row, column, number), result in zip(cells, results, strict=True):
        (target,) = result.tasks
        place = row, number, column
        test[place] = result.test_loss[target]
        evaluation[place] = result.evaluation_loss[target]
        block_losses = result.test_blocks.get(target, [])
        blocks[place][: len(block_losses)] = torch.tensor(block_losses)
    return TransferLosses(test, evaluation, blocks)
