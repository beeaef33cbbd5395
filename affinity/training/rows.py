"""Rows and columns that a network is trained on, and their order."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from affinity.errors import InputError, check_known
from affinity.tasks import Examples, Task


def columns_of(names: Sequence[str], tasks: Sequence[Task]) -> list[int]:
    """The column of the targets that belongs to each name."""
    column = {task.name: number for number, task in enumerate(tasks)}
    check_known("a network of tasks", names, column, "unknown-task")
    return [column[name] for name in names]


def labelled(
    examples: Examples, columns: Sequence[int], names: Sequence[str]
) -> tuple[Int[Tensor, " row"], Examples]:
    """The rows labelled for at least one of these columns, and those rows with only them."""
    targets = examples.targets[:, list(columns)]
    rows = (~targets.isnan()).any(dim=1).nonzero().squeeze(1)
    if len(rows) == 0:
        raise InputError(
            f"Expected rows labelled for at least one of the tasks {tuple(names)}, but none of "
            f"{len(examples)} rows is. Leave these tasks out, or draw more rows.",
            "no-labels",
        )
    return rows, examples.with_targets(targets).view(rows)


def normalizes_batches(network: nn.Module) -> bool:
    """Whether a row's prediction in training depends on the other rows of its batch (BatchNorm).

    A last batch of one row is then left out, because it has no variance; the order of the rows
    changes from epoch to epoch.
    """
    kind = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage]
    return any(isinstance(module, kind) for module in network.modules())


def ranks(count: int, seed: int, epoch: int) -> Int[Tensor, " row"]:
    """The place of each row in the order of this epoch; the same in all compared trainings.

    A network that learns from fewer rows sees them in the same order, the others left out.
    """
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return torch.randperm(count, generator=generator)
