"""Resampling: which development rows a replicate trains on, and which decide when to stop."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples

Resampling = Callable[[Examples, int], tuple[Tensor, Tensor]]
"""Development rows and a seed to the numbers of the training and the validation rows."""


@dataclass(frozen=True)
class RandomRows:
    """A fresh random draw of training and validation rows a replicate.

    Stratified: both sides get their share of the rows of every class, of the rarest class of a
    row where it has several targets, and of the labelled rows of every task.

    Args:
        validation_share: Share of the development rows that decide when to stop.

    Example:
        >>> rows = Examples(torch.zeros(10, 1), torch.tensor([[0.0]] * 8 + [[1.0]] * 2))
        >>> training, validation = RandomRows(0.5)(rows, seed=0)
        >>> rows.targets[training].sum().item(), rows.targets[validation].sum().item()
        (1.0, 1.0)
    """

    validation_share: float = 0.2

    def __post_init__(self) -> None:
        _check_share(self.validation_share)

    def __call__(
        self, development: Examples, seed: int
    ) -> tuple[Int[Tensor, " training"], Int[Tensor, " validation"]]:
        """Rows for training and rows for validation, both in random order."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(development), generator=generator)
        by_stratum = order[torch.argsort(_strata(development)[order], stable=True)]
        # Rows of one stratum stand together, in random order within: a comb through them takes
        # its share of each.
        teeth = (torch.arange(len(order) + 1) + torch.rand((), generator=generator)).double()
        is_validation = (teeth * self.validation_share).floor().diff() > 0
        shuffled = torch.randperm(len(order), generator=generator)
        rows, is_validation = by_stratum[shuffled], is_validation[shuffled]
        return rows[~is_validation], rows[is_validation]


@dataclass(frozen=True)
class TimeBlocks:
    """A fresh draw of whole blocks of neighbouring rows for validation a replicate.

    Neighbours in time resemble each other; a validation row between two training rows would say
    little about the future.

    Args:
        validation_share: Share of the blocks that decide when to stop.
        blocks: Into how many blocks the development rows are cut.

    Example:
        >>> rows = Examples(torch.zeros(40, 1), torch.zeros(40, 1))
        >>> training, validation = TimeBlocks(0.25, blocks=4)(rows, seed=0)
        >>> (validation.max() - validation.min()).item(), len(training)
        (9, 30)
    """

    validation_share: float = 0.2
    blocks: int = 20

    def __post_init__(self) -> None:
        _check_share(self.validation_share)
        if self.blocks < 2:
            raise InputError(f"Expected at least two blocks of time, but got {self.blocks}.")

    def __call__(
        self, development: Examples, seed: int
    ) -> tuple[Int[Tensor, " training"], Int[Tensor, " validation"]]:
        """Rows for training in random order, and rows for validation in blocks."""
        generator = torch.Generator().manual_seed(seed)
        block = torch.arange(len(development)) * self.blocks // max(1, len(development))
        chosen = torch.randperm(self.blocks, generator=generator)
        chosen = chosen[: max(1, round(self.blocks * self.validation_share))]
        is_validation = torch.isin(block, chosen)
        rows = torch.randperm(len(development), generator=generator)
        return rows[~is_validation[rows]], is_validation.nonzero().squeeze(1)


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise InputError(f"Expected a validation share between 0 and 1, but got {share}.")


def _strata(examples: Examples) -> Int[Tensor, " row"]:
    """A number a row: the rarest class that it belongs to, or task that it is labelled for."""
    size = torch.full((len(examples),), len(examples) + 1)
    stratum = torch.zeros(len(examples), dtype=torch.long)
    so_far = 0
    for target in examples.targets.T:
        missing = target.isnan()
        values, group, counts = target.nan_to_num().unique(return_inverse=True, return_counts=True)
        if len(values) > 20:  # a number rather than a class
            group, counts = torch.zeros_like(stratum), counts.sum(dim=0, keepdim=True)
        is_rarer = ~missing & (counts[group] < size)
        size = size.where(~is_rarer, counts[group])
        stratum = stratum.where(~is_rarer, 1 + so_far + group)
        so_far += len(counts)
    return stratum
