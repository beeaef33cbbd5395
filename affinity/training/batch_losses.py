"""Batch losses: the loss of each task of one network on one batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from affinity.sharing import HardSharing, Sharing
from affinity.tasks import Examples, Task, loss_on_labelled, takes_stacks

from .head_layout import head_kinds

FEW_TASKS = 16  # up to this many, heads one by one cost no more than together
LossByTask = dict[str, Tensor]


def losses_of_batches(network: Sharing, tasks: Sequence[Task]) -> Callable[[Examples], LossByTask]:
    """A function of a batch that returns the loss of each of the network's tasks.

    Many linear heads on one representation are one matrix product, and losses of one kind one call.
    """
    heads = [head for head in network.heads if type(head) is nn.Linear]
    is_many = len(tasks) > FEW_TASKS and len(heads) == len(tasks)
    if not is_many or type(network) is not HardSharing or any(map(_has_hooks, heads)):
        return lambda examples: _one_by_one(network, tasks, examples)
    places_of: dict[object, list[int]] = {}
    for place, kind in enumerate(head_kinds(network, tasks)):
        places_of.setdefault(kind, []).append(place)
    if not all(takes_stacks(tasks[places[0]].loss) for places in places_of.values()):
        return lambda examples: _one_by_one(network, tasks, examples)
    kinds = list(places_of.values())
    return lambda examples: _together(network.trunk, heads, tasks, kinds, examples)


def _has_hooks(head: nn.Module) -> bool:
    return bool(head._forward_hooks or head._forward_pre_hooks)  # pyright: ignore[reportPrivateUsage]


def _one_by_one(network: Sharing, tasks: Sequence[Task], examples: Examples) -> LossByTask:
    predictions = network(examples.inputs)
    return {
        task.name: loss_on_labelled(task.loss, predictions[task.name], targets, examples.weights)
        for task, targets in zip(tasks, examples.targets.T, strict=True)
    }


def _together(
    trunk: nn.Module,
    heads: Sequence[nn.Linear],
    tasks: Sequence[Task],
    kinds: Sequence[list[int]],
    examples: Examples,
) -> LossByTask:
    representation = trunk(examples.inputs)
    losses: dict[int, Tensor] = {}
    for places in kinds:
        weight = torch.cat([heads[place].weight for place in places])
        has_bias = heads[places[0]].bias is not None  # pyright: ignore[reportUnnecessaryComparison]
        bias = torch.cat([heads[place].bias for place in places]) if has_bias else None
        outputs = functional.linear(representation, weight, bias)
        predictions = outputs.unflatten(1, (len(places), -1)).transpose(0, 1)  # task batch output
        targets = examples.targets.T[places]
        weights = None if examples.weights is None else examples.weights.expand_as(targets)
        loss = loss_on_labelled(tasks[places[0]].loss, predictions, targets, weights)
        losses |= zip(places, loss.unbind(), strict=True)
    return {task.name: losses[place] for place, task in enumerate(tasks)}
