"""Judge a network: its predictions, losses and metrics on rows that it did not learn from."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from affinity.sharing import Sharing
from affinity.tasks import Examples, Task, ignores_missing, loss_on_labelled, takes_stacks
from affinity.tasks.losses import weight_in_mean

from .objectives import Objective
from .reference import constant_loss

MOST_BLOCKS = 128
"""Into how many blocks a task's test rows are cut at most; see `block_losses`."""

METRIC_BLOCKS = 32  # into how many blocks they are cut for a metric; see `block_metrics`
_ROWS_AT_ONCE = 4096


def predict(network: Sharing, examples: Examples) -> dict[str, Tensor]:
    """One prediction per row for each task of `network`, in evaluation mode.

    The network may be on another device than the rows; predictions are where the rows are.
    """
    was_training = network.training
    network.eval()
    home = examples.targets.device
    device = next((parameter.device for parameter in network.parameters()), home)
    with torch.no_grad():
        parts = [
            network(examples.inputs_of(slice(first, first + _ROWS_AT_ONCE)).to(device))
            for first in range(0, max(1, len(examples)), _ROWS_AT_ONCE)
        ]
    network.train(was_training)
    return {name: torch.cat([part[name] for part in parts]).to(home) for name in network.names}


def losses_of(
    tasks: Sequence[Task], predictions: Mapping[str, Tensor], examples: Examples
) -> dict[str, float]:
    """The loss of each task, NaN without labels; column k of the targets is the k-th task's."""
    with torch.no_grad():
        return {
            task.name: float(
                loss_on_labelled(task.loss, predictions[task.name], targets, examples.weights)
            )
            if not bool(targets.isnan().all())
            else math.nan
            for task, targets in zip(tasks, examples.targets.T, strict=True)
        }


class RowScores(NamedTuple):
    """Metrics on test rows, and losses and metrics on blocks of them; see `TrainedNetwork`."""

    test_metric: dict[str, float]
    test_blocks: dict[str, list[float]]
    metric_blocks: dict[str, list[float]]


def score_test_rows(
    tasks: Sequence[Task],
    predictions: Mapping[str, Tensor],
    test: Examples,
    target_scales: Tensor | None,
) -> RowScores:
    """Scores of each task; column k of targets and scales is the k-th task's."""
    scores = RowScores(metrics_of(tasks, predictions, test, target_scales), {}, {})
    for column, (task, target) in enumerate(zip(tasks, test.targets.T, strict=True)):
        rows = task, predictions[task.name], target, test.groups
        scores.test_blocks[task.name] = block_losses(*rows, test.weights)
        if task.is_judged_by_metric:
            scale = 1.0 if target_scales is None else float(target_scales[column])
            scores.metric_blocks[task.name] = block_metrics(*rows, scale, test.weights)
    return scores


def block_losses(
    task: Task,
    prediction: Tensor,
    target: Tensor,
    groups: Tensor | None = None,
    weights: Tensor | None = None,
) -> list[float]:
    r"""The loss on each of at most `MOST_BLOCKS` blocks of a task's labelled rows.

    How much the losses of blocks differ tells how much the loss on all rows would differ on other
    rows. Blocks are neighbours in the order of the rows, of equal size up to one row; with groups,
    a block has whole groups, since rows of one group say little more than one row. Blocks of
    groups differ in size, so the entry of block b with :math:`n_b` of N rows is the linearized
    mean :math:`L + B \frac{n_b}{N} (L_b - L)`; the mean of the entries is the loss L on all rows.
    With weights of rows or classes, n and N are sums of weights.
    """
    labelled = (~target.isnan()).nonzero().squeeze(1)
    if not len(labelled):
        return []
    if groups is None:
        sizes = _equal_sizes(len(labelled))
    else:
        order, sizes = _blocks_of_groups(groups[labelled])
        labelled = labelled[order]
    place = torch.arange(int(sizes.max()))
    starts = (sizes.cumsum(0) - sizes).unsqueeze(1)  # block 1
    rows = labelled[(starts + place).clamp(max=len(labelled) - 1)]
    is_own = place < sizes.unsqueeze(1)  # block row
    prediction, target = prediction[rows], target[rows].where(is_own, math.nan)
    weight = None if weights is None else weights[rows].to(target)
    with torch.no_grad():
        losses = _loss_per_block(task, prediction, target, weight)
    in_mean = weight_in_mean(task.loss, target, weight)
    if groups is None and in_mean is None:
        return losses.tolist()
    sums = sizes if in_mean is None else in_mean.where(is_own, 0).sum(dim=1)
    share = sums.double() / sums.sum()
    mean = (share * losses.double()).sum()
    return (mean + len(sizes) * share * (losses.double() - mean)).tolist()


def _loss_per_block(
    task: Task, prediction: Tensor, target: Tensor, weight: Tensor | None
) -> Tensor:
    if takes_stacks(task.loss):
        return loss_on_labelled(task.loss, prediction, target, weight)
    if ignores_missing(task.loss, task.n_outputs):
        try:
            return vmap(task.loss)(prediction, target)
        except (RuntimeError, ValueError, TypeError):
            pass  # vmap cannot follow it
    blocks = zip(prediction, target, strict=True)
    return torch.stack([loss_on_labelled(task.loss, *block) for block in blocks])


def _equal_sizes(n_rows: int) -> Tensor:
    count = n_rows // math.ceil(n_rows / MOST_BLOCKS)
    size, n_longer = divmod(n_rows, count)
    return size + (torch.arange(count) < n_longer).long()


def _blocks_of_groups(groups: Tensor) -> tuple[Tensor, Tensor]:
    """The order of rows that keeps groups together, and the number of rows of each block."""
    _, number, counts = groups.unique(return_inverse=True, return_counts=True)
    middle = counts.cumsum(0) - counts / 2
    block = (middle * MOST_BLOCKS / len(groups)).long() if len(counts) > MOST_BLOCKS else None
    block = torch.arange(len(counts)) if block is None else block.unique(return_inverse=True)[1]
    return number.argsort(stable=True), torch.zeros(int(block.max()) + 1).long().scatter_add(
        0, block, counts
    )


def metrics_of(
    tasks: Sequence[Task],
    predictions: Mapping[str, Tensor],
    examples: Examples,
    target_scales: Tensor | None = None,
) -> dict[str, float]:
    """The metric of each task; column k of targets and scales is the k-th task's."""
    return {
        task.name: metric_of(
            task,
            predictions[task.name],
            targets,
            1.0 if target_scales is None else float(target_scales[column]),
            examples.weights,
        )
        for column, (task, targets) in enumerate(zip(tasks, examples.targets.T, strict=True))
    }


def metric_of(
    task: Task,
    prediction: Tensor,
    target: Tensor,
    scale: float = 1.0,
    weights: Tensor | None = None,
) -> float:
    """The task's metric in the units of its target, of which `scale` is one standardized unit."""
    labelled = ~target.isnan()
    if not bool(labelled.any()):
        return math.nan
    power = getattr(task.metric, "power", 0)
    weight = [] if weights is None else [weights[labelled]]
    value = task.metric(prediction[labelled], target[labelled], *weight)
    return value * (scale**power if power else 1.0)


def block_metrics(
    task: Task,
    prediction: Tensor,
    target: Tensor,
    groups: Tensor | None,
    scale: float,
    weights: Tensor | None = None,
) -> list[float]:
    r"""The metric's jackknife values on up to `METRIC_BLOCKS` blocks of labelled rows.

    The value of block b of B is :math:`B M - (B - 1) M_{-b}` with the metric M on all rows and
    :math:`M_{-b}` on all other blocks; their variance is that of the metric over test rows.

    References:
        Tukey (1958), Bias and confidence in not-quite large samples.
    """
    labelled = (~target.isnan()).nonzero().squeeze(1)
    whole = metric_of(task, prediction, target, scale, weights)
    if not len(labelled) or math.isnan(whole):
        return []
    if groups is None:
        block = torch.arange(len(labelled)) * min(METRIC_BLOCKS, len(labelled)) // len(labelled)
    else:
        number = groups[labelled].unique(return_inverse=True)[1].cpu()
        count = int(number.max()) + 1
        block = number * min(METRIC_BLOCKS, count) // count
    values: list[float] = []
    count = int(block.max()) + 1
    for each in range(count):
        rows = labelled[(block != each).to(labelled.device)]
        weight = None if weights is None else weights[rows]
        others = metric_of(task, prediction[rows], target[rows], scale, weight)
        values.append(count * whole - (count - 1) * others)
    return values if all(map(math.isfinite, values)) else []


def scales_of(tasks: Sequence[Task], training: Examples, validation: Examples) -> dict[str, float]:
    """The validation loss of each task's best constant prediction; see `constant_loss`."""
    return {
        task.name: constant_loss(task, training, validation, column)
        for column, task in enumerate(tasks)
    }


def score_of(
    losses: Mapping[str, float], scales: Mapping[str, float], objective: Objective
) -> float:
    """The objective's validation score (`Objective.score`), which decides when to stop."""
    values = torch.tensor(list(losses.values()), dtype=torch.double)
    weights = objective.fixed_weights(list(losses))
    return float(
        objective.score(
            values,
            values.new_tensor([scales[name] for name in losses]),
            None if weights is None else values.new_tensor(weights),
        )
    )


def describe_divergence(name: str, loss: float, network: Sequence[str], step: int) -> str:
    """What went wrong, and what to do."""
    return (
        f"The loss of task {name!r} became {loss} at step {step} while training the network of "
        f"{tuple(network)}. Lower the learning rate, or look for extreme inputs and targets."
    )
