"""Resampling: which development rows a replicate trains on, and which decide when to stop."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples


@dataclass(frozen=True)
class RandomRows:
    """A fresh random draw of training and validation rows a replicate.

    A task whose labels are rare keeps its share of them on both sides: the rows are drawn from
    each pattern of "which task is labelled, and with which rare class" in turn.

    Args:
        validation_share: Share of the development rows that decide when to stop.
        subsample: Share of the development rows that a replicate uses at all. Below 1, two
            replicates differ in more than which rows validate.
    """

    validation_share: float = 0.2
    subsample: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise InputError(
                f"Expected a validation_share between 0 and 1, but got {self.validation_share}."
            )
        if not 0 < self.subsample <= 1:
            raise InputError(f"Expected a subsample in (0, 1], but got {self.subsample}.")

    def __call__(
        self, development: Examples, seed: int
    ) -> tuple[Int[Tensor, " training"], Int[Tensor, " validation"]]:
        """Rows for training and rows for validation, both in random order."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(development), generator=generator)
        order = order[: max(2, round(self.subsample * len(order)))]
        strata = _strata(development)[order]
        order = order[torch.argsort(strata, stable=True)]
        # Rows of one stratum now stand together, in random order within; taking every k-th row
        # gives each side its share of every stratum.
        position = torch.arange(len(order))
        offset = torch.rand((), generator=generator).item()
        to_validation = ((position + offset) * self.validation_share).floor().diff(
            append=torch.tensor([(len(order) + offset) * self.validation_share]).floor()
        ) > 0
        shuffled = torch.randperm(len(order), generator=generator)
        rows, chosen = order[shuffled], to_validation[shuffled]
        return rows[~chosen], rows[chosen]


def _strata(examples: Examples) -> Int[Tensor, " row"]:
    """A number a row: the rarest class (or labelled task) that the row belongs to."""
    rarest = torch.full((len(examples),), len(examples) + 1.0)
    stratum = torch.zeros(len(examples), dtype=torch.long)
    number = 0
    for column in examples.targets.T:
        values, inverse, counts = column.nan_to_num(nan=-1.0).unique(
            return_inverse=True, return_counts=True
        )
        if len(values) > 20:  # a number, not a class: only whether it is labelled matters
            inverse = column.isnan().long()
            counts = torch.bincount(inverse, minlength=2)
        frequency = counts[inverse].float()
        is_rarer = frequency < rarest
        rarest = rarest.where(~is_rarer, frequency)
        stratum = stratum.where(~is_rarer, number + inverse)
        number += len(counts)
    return stratum
