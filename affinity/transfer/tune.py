"""Fine-tuning of many networks at once by one plan: one job per target, replicate and source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn

from affinity.problems import Problem
from affinity.sharing import HardSharing
from affinity.tasks import Replicate, loss_on_labelled
from affinity.training import (
    Initialization,
    Member,
    Store,
    TrainedNetwork,
    TrainingSettings,
    initial,
    train_members,
)

from .blocks import block_prefixes, blocks_of, is_within, relative_gradient_norms, scales_from_norms
from .recipes import Recipe
from .tuning_plan import Phase, TuningPlan

TRUNK = "trunk."
_BATCHES = 5  # for relative gradient norms, as in Lee et al.


@dataclass(frozen=True, eq=False)
class TuningJob:
    """One network to fine-tune.

    Args:
        trunk: Initial values by name (``trunk.0.weight``); empty for a random initialization.
    """

    target: str
    replicate: int
    trunk: Mapping[str, Tensor]


def plan_for(
    problem: Problem, recipe: Recipe | TuningPlan, epochs: int | None = None
) -> TuningPlan:
    """The tuning plan of a recipe for the problem's network; a given plan is checked against it.

    Raises:
        InputError: If a plan names blocks that the network does not have.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity.transfer import LinearProbe
        >>> plan_for(load_digits(), LinearProbe()).phases[0].learning_rate_scales
        {'trunk.0': 0.0, 'trunk.1': 0.0, 'heads': 1.0}
    """
    blocks = list(blocks_of(_initial_network(problem)))
    if not isinstance(recipe, TuningPlan):
        recipe = recipe(blocks, epochs or problem.settings.epochs)
    recipe.check_blocks(blocks)
    return recipe


def load_network(
    problem: Problem, state: Mapping[str, Tensor], task: str | None = None, seed: int = 0
) -> HardSharing:
    """A network of one task (the first one if None) in evaluation mode.

    Parameters and buffers that are not in `state` are initialized at random, by the seed.
    """
    chosen = problem.tasks[:1] if task is None else [t for t in problem.tasks if t.name == task]
    network = initial(problem.network, chosen, seed)
    assert isinstance(network, HardSharing)
    network.load_state_dict({**network.state_dict(), **state})
    return network.eval()


def tune(
    problem: Problem,
    plan: TuningPlan,
    jobs: Sequence[TuningJob],
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    keep: bool = False,
    store: Store | None = None,
) -> list[TrainedNetwork]:
    """Fine-tune every network by the plan, many at once.

    On one replicate, all networks of a target have the same random head and see the same rows in
    the same order, so that sources, and training from scratch, are compared in pairs. Each phase
    starts from the best state so far, stops early by itself, and is kept only if it lowers the
    target's validation loss.

    Args:
        plan: From `plan_for`.
        replicates: Data splits; jobs refer to them by index.
        settings: Batch size, learning rate and patience; the plan decides the epochs.
        keep: Whether to return parameters and predictions.
        store: A store of finished trainings, which are not repeated; not with `keep`.

    Returns:
        One result per job, in the same order; its seconds are those of all phases.
    """
    settings = settings or problem.settings
    members = [Member(frozenset({job.target}), job.replicate) for job in jobs]
    network = _initial_network(problem)
    block_of = {name: block for block, names in blocks_of(network).items() for name in names}
    fresh = [name for block in plan.fresh for name in block_prefixes(network)[block]]
    sources = [
        {name: value for name, value in job.trunk.items() if not is_within(name, fresh)}
        for job in jobs
    ]
    states: list[Mapping[str, Tensor]] = list(sources)
    best: list[TrainedNetwork | None] = [None] * len(jobs)
    seconds = [0.0] * len(jobs)
    for number, phase in enumerate(plan.phases):
        is_last = number == len(plan.phases) - 1
        starts: list[Initialization] = []
        for job, source, state in zip(jobs, sources, states, strict=True):
            scales = _scales(phase, problem, job, replicates[job.replicate], state, settings)
            starts.append(
                Initialization(
                    state=state,
                    scales={
                        n: scales[block] for n, block in block_of.items() if scales[block] != 1
                    },
                    pull=plan.pull,
                    toward={name: value for name, value in source.items() if name in block_of},
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
        for place, (job, result) in enumerate(zip(jobs, results, strict=True)):
            seconds[place] += result.seconds
            best_result = best[place]
            if best_result is None or _is_better(result, best_result, job.target):
                best[place] = best_result = result
            if not is_last and best_result.state is not None:
                states[place] = best_result.state
    return [
        replace(result, seconds=total)
        for result, total in zip(best, seconds, strict=True)
        if result is not None
    ]


def _initial_network(problem: Problem) -> nn.Module:
    with torch.random.fork_rng():
        return problem.network(problem.tasks[:1])


def _is_better(result: TrainedNetwork, best: TrainedNetwork, target: str) -> bool:
    if result.diverged is not None:
        return False
    return best.diverged is not None or (
        result.validation_loss[target] < best.validation_loss[target]
    )


def _scales(
    phase: Phase,
    problem: Problem,
    job: TuningJob,
    replicate: Replicate,
    state: Mapping[str, Tensor],
    settings: TrainingSettings,
) -> dict[str, float]:
    """The learning-rate scale of each block, from relative gradient norms where the phase says."""
    if not phase.by_gradient:
        return dict(phase.learning_rate_scales)
    column = problem.names.index(job.target)
    task, training = problem.tasks[column], replicate.training
    network = initial(problem.network, [task], replicate.seed)
    assert isinstance(network, HardSharing)
    Initialization(state).put_into(network)
    rows = training.labelled[:, column].nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(replicate.seed)
    order = rows[torch.randperm(len(rows), generator=generator)]
    losses = (
        loss_on_labelled(
            task.loss,
            network(training.inputs[batch])[task.name],
            training.targets[batch, column],
            None if training.weights is None else training.weights[batch],
        )
        for batch in islice(order.split(settings.batch_size), _BATCHES)
    )
    norms = relative_gradient_norms(network, losses, blocks_of(network))
    by_norm = scales_from_norms(norms, phase.by_gradient)
    return {b: scale * by_norm.get(b, 1.0) for b, scale in phase.learning_rate_scales.items()}
