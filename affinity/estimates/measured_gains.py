"""Measured gains: what each task had from each network, beside a network of its own."""

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import TrainingResults


def measured_gains(measured: TrainingResults) -> Float[Tensor, "network replicate task"]:
    r"""The share of a task's own evaluation loss that is gone in each network.

    .. math::
        G_j(S) = \frac{L_j(\{j\}) - L_j(S)}{\overline{L}_j(\{j\})}

    with both losses of one replicate, over the mean of the task's own loss over replicates. 0.1
    says that a tenth of the loss is gone; below 0 the company harms. 0 for the task alone; NaN
    where a network does not train the task, or either training is missing.

    Raises:
        InputError: If a task was not trained alone.

    Example:
        >>> losses = torch.tensor([[2.0, torch.nan], [torch.nan, 4.0], [1.0, 5.0]])
        >>> networks = (frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"}))
        >>> measured = TrainingResults.from_losses(networks, ("a", "b"), losses[:, None, :])
        >>> measured_gains(measured)[2].tolist()
        [[0.5, -0.25]]
    """
    row_of = {network: row for row, network in enumerate(measured.networks)}
    if missing := [task for task in measured.tasks if frozenset({task}) not in row_of]:
        raise InputError(
            f"Expected every task to be trained alone, too, to compare with, but {missing} "
            "were not.",
            "task-not-measured-alone",
        )
    loss = measured.evaluation_loss
    alone = torch.stack(
        [loss[row_of[frozenset({task})], :, at] for at, task in enumerate(measured.tasks)], dim=1
    )  # replicate task
    return (alone - loss) / alone.nanmean(dim=0)
