"""Judge a network: its predictions, losses and metrics on rows that it did not learn from."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from affinity.sharing import Sharing
from affinity.tasks import Examples, Task

from .reference import constant_loss

_ROWS_AT_ONCE = 4096


def predict(network: Sharing, examples: Examples) -> dict[str, Tensor]:
    """A prediction a row for each task of `network`, in evaluation mode."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        parts = [network(inputs) for inputs in examples.inputs.split(_ROWS_AT_ONCE)]
    network.train(was_training)
    return {name: torch.cat([part[name] for part in parts]) for name in network.names}


def losses_of(
    tasks: Sequence[Task], predictions: Mapping[str, Tensor], examples: Examples
) -> dict[str, float]:
    """The loss of each task, NaN without labels; column k of the targets is the k-th task's."""
    with torch.no_grad():
        return {
            task.name: float(task.loss(predictions[task.name], targets))
            if not bool(targets.isnan().all())
            else math.nan
            for task, targets in zip(tasks, examples.targets.T, strict=True)
        }


def metrics_of(
    tasks: Sequence[Task], predictions: Mapping[str, Tensor], examples: Examples
) -> dict[str, float]:
    """The metric of each task; column k of the targets is the k-th task's."""
    return {
        task.name: task.metric(predictions[task.name], targets)
        for task, targets in zip(tasks, examples.targets.T, strict=True)
    }


def scales_of(tasks: Sequence[Task], training: Examples, validation: Examples) -> dict[str, float]:
    """The validation loss of each task's best constant prediction; see `constant_loss`."""
    return {
        task.name: constant_loss(task, training.targets[:, column], validation.targets[:, column])
        for column, task in enumerate(tasks)
    }


def score_of(losses: Mapping[str, float], scales: Mapping[str, float]) -> float:
    """Mean over the labelled tasks of loss / scale, which decides when to stop; NaN without any.

    Example:
        >>> score_of({"depth": 2.0, "edges": 0.5}, {"depth": 2.0, "edges": 1.0})
        0.75
    """
    ratios = [loss / scales[name] for name, loss in losses.items() if not math.isnan(loss)]
    return sum(ratios) / len(ratios) if ratios else math.nan
