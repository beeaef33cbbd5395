"""Resampling: which development rows a replicate trains on, and which decide when to stop."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples


@dataclass(frozen=True, eq=False)
class Draw:
    """Numbers of the development rows that a replicate uses, and what for.

    Args:
        training: To learn from, in random order.
        validation: To decide when to stop.
        evaluation: To decide between networks.
    """

    training: Int[Tensor, " training"]
    validation: Int[Tensor, " validation"]
    evaluation: Int[Tensor, " evaluation"]


Resampling = Callable[[Examples, int], Draw]
"""Development rows and a seed to a draw."""


@dataclass(frozen=True)
class RandomRows:
    """A fresh random draw of training, validation and evaluation rows per replicate.

    Stratified: each part gets its share of the rows of every class, of the rarest class of a row
    where it has several targets, and of the labelled rows of every task.

    Args:
        validation_share: Share of the development rows that decide when to stop.
        evaluation_share: Share of the development rows that decide between networks.

    Example:
        >>> rows = Examples(torch.zeros(10, 1), torch.tensor([[0.0]] * 8 + [[1.0]] * 2))
        >>> draw = RandomRows(validation_share=0.5, evaluation_share=0.0)(rows, seed=0)
        >>> rows.targets[draw.training].sum().item(), rows.targets[draw.validation].sum().item()
        (1.0, 1.0)
    """

    validation_share: float = 0.2
    evaluation_share: float = 0.2

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.evaluation_share)

    def __call__(self, development: Examples, seed: int) -> Draw:
        """Draw with this seed."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(development), generator=generator)
        by_stratum = order[torch.argsort(_strata(development)[order], stable=True)]
        # Sorted by stratum, in random order within: systematic sampling takes the same share of
        # every stratum.
        rest, evaluation = _comb(by_stratum, self.evaluation_share, generator)
        training, validation = _comb(
            rest, self.validation_share / (1 - self.evaluation_share), generator
        )
        shuffled = torch.randperm(len(training), generator=generator)
        return Draw(training[shuffled], validation, evaluation)


@dataclass(frozen=True)
class TimeBlocks:
    """A fresh draw of whole blocks of neighbouring rows for each part of a replicate.

    Neighbours in time resemble each other; a validation row between two training rows would say
    little about the future.

    Args:
        validation_share: Share of the blocks that decide when to stop.
        evaluation_share: Share of the blocks that decide between networks.
        blocks: Number of blocks that the development rows are split into.

    Example:
        >>> rows = Examples(torch.zeros(40, 1), torch.zeros(40, 1))
        >>> draw = TimeBlocks(0.25, 0.25, blocks=4)(rows, seed=0)
        >>> (draw.validation.max() - draw.validation.min()).item(), len(draw.training)
        (9, 20)
    """

    validation_share: float = 0.2
    evaluation_share: float = 0.2
    blocks: int = 20

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.evaluation_share)
        if self.blocks < 3:
            raise InputError(
                f"Expected at least three blocks of time, but got {self.blocks}.", "out-of-range"
            )

    def __call__(self, development: Examples, seed: int) -> Draw:
        """Draw with this seed."""
        generator = torch.Generator().manual_seed(seed)
        block = torch.arange(len(development)) * self.blocks // max(1, len(development))
        shuffled = torch.randperm(self.blocks, generator=generator)
        n_validation = max(1, round(self.blocks * self.validation_share))
        n_evaluation = round(self.blocks * self.evaluation_share)
        is_validation = torch.isin(block, shuffled[:n_validation])
        is_evaluation = torch.isin(block, shuffled[n_validation : n_validation + n_evaluation])
        rows = torch.randperm(len(development), generator=generator)
        return Draw(
            training=rows[~(is_validation | is_evaluation)[rows]],
            validation=is_validation.nonzero().squeeze(1),
            evaluation=is_evaluation.nonzero().squeeze(1),
        )


def _comb(
    rows: Int[Tensor, " row"], share: float, generator: torch.Generator
) -> tuple[Int[Tensor, " rest"], Int[Tensor, " taken"]]:
    """Systematic sampling with a random start."""
    teeth = (torch.arange(len(rows) + 1) + torch.rand((), generator=generator)).double()
    is_taken = (teeth * share).floor().diff() > 0
    return rows[~is_taken], rows[is_taken]


def _check_shares(validation: float, evaluation: float) -> None:
    if not 0 < validation < 1:
        raise InputError(
            f"Expected a validation share between 0 and 1, but got {validation}.", "invalid-share"
        )
    if not 0 <= evaluation < 1 - validation:
        raise InputError(
            f"Expected an evaluation share of at least 0 that leaves training rows with the "
            f"validation share of {validation}, but got {evaluation}.",
            "invalid-share",
        )


def _strata(examples: Examples) -> Int[Tensor, " row"]:
    """One number per row: its rarest class, or the rarest task that it is labelled for."""
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
