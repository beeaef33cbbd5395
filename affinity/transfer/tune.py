"""Tune many networks at once by one plan: each a target on a replicate, from a source's trunk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from affinity.problems import Problem
from affinity.sharing import HardSharing
from affinity.tasks import Replicate
from affinity.training import (
    Initialization,
    Member,
    Store,
    TrainedNetwork,
    TrainingSettings,
    initial,
    train_members,
)

from .blocks import HEADS, blocks_of
from .recipes import Recipe
from .relative_gradients import rates_of, relative_gradient_norms
from .tuning_plan import TuningPlan

TRUNK = "trunk."
_BATCHES = 5  # for relative gradient norms, as Lee et al. take


@dataclass(frozen=True, eq=False)
class TuningJob:
    """One tuning.

    Args:
        target: The task.
        replicate: Which of the replicates.
        trunk: What it starts from, as the network names it (``trunk.0.weight``); nothing for a
            fresh one.
    """

    target: str
    replicate: int
    trunk: Mapping[str, Tensor]


def plan_for(
    problem: Problem, recipe: Recipe | TuningPlan, epochs: int | None = None
) -> TuningPlan:
    """The plan that a recipe makes of the problem's network; a plan is checked against it.

    Raises:
        InputError: If a plan names blocks that the network does not have.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity.transfer import LinearProbe
        >>> plan_for(load_digits(), LinearProbe()).phases[0].scales
        {'trunk.0': 0.0, 'trunk.1': 0.0, 'heads': 1.0}
    """
    with torch.random.fork_rng():
        blocks = list(blocks_of(problem.network(problem.tasks[:1])))
    plan = recipe
    if not isinstance(plan, TuningPlan):
        plan = plan(blocks, epochs or problem.settings.epochs)
    plan.check_blocks(blocks)
    return plan


def tune(
    problem: Problem,
    plan: TuningPlan,
    jobs: Sequence[TuningJob],
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    keep: bool = False,
    store: Store | None = None,
) -> list[TrainedNetwork]:
    """Tune every network by the plan, many at once; the best phase's state is kept.

    On one replicate all networks of a target have the same fresh head and see the same rows in the
    same order, so that sources are compared in pairs, also with training from scratch. Each phase
    starts from the best state so far, stops early by itself, and counts where the target's
    validation loss is lower than before.

    Args:
        problem: Tasks, trunk and heads.
        plan: From `plan_for`.
        jobs: What to tune.
        replicates: What jobs refer to.
        settings: Batch size, learning rate, patience; epochs are the plan's.
        keep: Whether to return parameters and predictions.
        store: Finished trainings are kept there and not done again; not with `keep`.

    Returns:
        A result a job, in their order; its seconds are those of all phases.
    """
    settings = settings or problem.settings
    members = [Member(frozenset({job.target}), job.replicate) for job in jobs]
    with torch.random.fork_rng():
        blocks = blocks_of(problem.network(problem.tasks[:1]))
    block_of = {name: block for block, names in blocks.items() for name in names}
    sources = [
        {
            name: value
            for name, value in job.trunk.items()
            if block_of.get(name, _block_of_buffer(name, blocks)) not in plan.fresh
        }
        for job in jobs
    ]
    states: list[Mapping[str, Tensor]] = list(sources)
    best: list[TrainedNetwork | None] = [None] * len(jobs)
    seconds = [0.0] * len(jobs)
    for number, phase in enumerate(plan.phases):
        is_last = number == len(plan.phases) - 1
        starts: list[Initialization] = []
        for job, source, state in zip(jobs, sources, states, strict=True):
            rates = {}
            if phase.by_gradient:
                norms = _norms(problem, job, replicates[job.replicate], state, settings)
                rates = rates_of(norms, phase.by_gradient)
            scales = {block: s * rates.get(block, 1.0) for block, s in phase.scales.items()}
            starts.append(
                Initialization(
                    state=state,
                    scales={
                        name: scales[block]
                        for name, block in block_of.items()
                        if scales[block] != 1
                    },
                    pull=plan.pull,
                    toward={name: v for name, v in source.items() if name in block_of},
                )
            )
        results = train_members(
            problem.network,
            problem.tasks,
            members,
            replicates,
            replace(settings, epochs=phase.epochs),
            keep=keep or not is_last,
            store=store,
            starts=starts,
        )
        for at, (job, result) in enumerate(zip(jobs, results, strict=True)):
            seconds[at] += result.seconds
            before = best[at]
            if before is None or _is_better(result, before, job.target):
                best[at] = result
            kept = best[at]
            if not is_last and kept is not None and kept.state is not None:
                states[at] = kept.state
    return [
        replace(result, seconds=spent)
        for result, spent in zip(best, seconds, strict=True)
        if result is not None
    ]


def _is_better(result: TrainedNetwork, before: TrainedNetwork, target: str) -> bool:
    if result.diverged is not None:
        return False
    return before.diverged is not None or (
        result.validation_loss[target] < before.validation_loss[target]
    )


def _block_of_buffer(name: str, blocks: Mapping[str, object]) -> str:
    """The block of a buffer, by the beginning of its name."""
    return next((block for block in blocks if name.startswith(f"{block}.")), HEADS)


def _norms(
    problem: Problem,
    job: TuningJob,
    replicate: Replicate,
    state: Mapping[str, Tensor],
    settings: TrainingSettings,
) -> dict[str, float]:
    """The relative gradient norms of a job's network at its start."""
    at = problem.names.index(job.target)
    task = problem.tasks[at]
    network = initial(problem.network, [task], replicate.seed)
    assert isinstance(network, HardSharing)
    Initialization(state).put_into(network)
    rows = replicate.training.labelled[:, at].nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(replicate.seed)
    order = rows[torch.randperm(len(rows), generator=generator)]
    losses = (
        task.loss(
            network(replicate.training.inputs[some])[task.name],
            replicate.training.targets[some, at],
        )
        for some in islice(order.split(settings.batch_size), _BATCHES)
    )
    return relative_gradient_norms(network, losses, blocks_of(network))
