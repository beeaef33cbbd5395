"""The losses that a lookahead starts from, and whether a closure is what it should be."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

from .batch import Batch
from .progress import Progress


def base_losses(
    batch: Batch, progress: Progress, tasks: Sequence[str], *, is_first: bool
) -> Float[Tensor, " task"]:
    """Losses before the step, with the dropout masks of the lookahead.

    At the first measurement, the closure is checked against the losses that it is given with,
    unless they depend on random numbers, or on buffers that a forward pass moves on
    (`spectral_norm`).

    Raises:
        InputError: If it gives other values.
    """
    if progress.base_is_given or batch.is_apart:
        return batch.values()
    base = batch.evaluate()
    if not is_first or (batch.has_drawn and not _are_same(base, batch.evaluate_by_chance())):
        return base
    given = batch.values()
    progress.base_is_given = _are_same(base, given)
    for task, first, second in zip(tasks, given.tolist(), base.tolist(), strict=True):
        if abs(first - second) > 0.02 * max(abs(first), abs(second)) + 1e-6:
            if not _are_same(base, batch.evaluate_in_a_row()):
                return base
            raise InputError(
                f"Expected the closure to evaluate the same losses on the same batch, but for "
                f"the task {task!r} it gives {second:.6g} where observe was given "
                f"{first:.6g}. Pass the losses unweighted and undivided, and let the closure "
                "use the batch that they were made from, in the same train/eval mode."
            )
    return base


def _are_same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())
