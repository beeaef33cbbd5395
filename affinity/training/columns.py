"""Which columns of the targets, and which rows, a network is concerned with."""

from collections.abc import Sequence

from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples, Task


def columns_of(names: Sequence[str], tasks: Sequence[Task]) -> list[int]:
    """Which column of the targets belongs to each name."""
    column = {task.name: number for number, task in enumerate(tasks)}
    unknown = [name for name in names if name not in column]
    if unknown:
        raise InputError(
            f"Expected a network of the tasks {tuple(column)}, but it predicts {unknown} too."
        )
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
            f"{len(examples)} rows is. Leave these tasks out, or draw more rows."
        )
    return rows, Examples(inputs=examples.inputs[rows], targets=targets[rows])
