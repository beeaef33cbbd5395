"""Merge: measurements of several calls as one."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from affinity.errors import InputError

from .train_networks import TrainingResults


def merge(parts: Sequence[TrainingResults]) -> TrainingResults:
    """Measurements of networks on different replicates, side by side.

    Args:
        parts: Each on replicates of its own; NaN stands where a network was not trained on one.
            What was kept of single trainings is left out.

    Raises:
        InputError: If there is nothing, or the parts are of different tasks.

    Example:
        >>> def measured(name: str) -> TrainingResults:
        ...     network, loss = frozenset({name}), torch.ones(1, 1, 2)
        ...     return TrainingResults.of_losses([network], ("a", "b"), loss)
        >>> merge([measured("a"), measured("b")]).evaluation_loss[:, :, 0].tolist()
        [[1.0, nan], [nan, 1.0]]
    """
    if not parts or len({part.tasks for part in parts}) != 1:
        raise InputError(
            f"Expected measurements of the same tasks, but got {sorted({p.tasks for p in parts})}."
        )
    networks = tuple(dict.fromkeys(network for part in parts for network in part.networks))
    n_tasks = len(parts[0].tasks)
    n_replicates = sum(part.evaluation_loss.shape[1] for part in parts)

    def table(name: str, *rest: int) -> Tensor:
        result = torch.full((len(networks), n_replicates, *rest), math.nan, dtype=torch.double)
        start = 0
        for part in parts:
            values: Tensor = getattr(part, name)
            rows = [networks.index(network) for network in part.networks]
            result[rows, start : start + values.shape[1]] = values.double()
            start += values.shape[1]
        return result

    parameters = {
        network: count
        for part in parts
        for network, count in zip(part.networks, part.parameters, strict=True)
    }
    return TrainingResults(
        networks=networks,
        tasks=parts[0].tasks,
        test_loss=table("test_loss", n_tasks),
        validation_loss=table("validation_loss", n_tasks),
        evaluation_loss=table("evaluation_loss", n_tasks),
        test_metric=table("test_metric", n_tasks),
        parameters=tuple(parameters[network] for network in networks),
        seconds=table("seconds"),
        diverged=tuple(reason for part in parts for reason in part.diverged),
    )
