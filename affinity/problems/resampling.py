"""Resampling: which development rows a replicate trains on, and which decide when to stop."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.errors import InputError, check_number
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

    def thinned(self, share: float, generator: torch.Generator) -> "Draw":
        """A share of the rows of each part, at least one of those that there are."""
        if share == 1:
            return self

        def some(rows: Int[Tensor, " row"]) -> Int[Tensor, " some"]:
            taken = _comb(rows, share, generator)[1]
            return taken if len(taken) else rows[:1]

        return Draw(some(self.training), some(self.validation), some(self.evaluation))


Resampling = Callable[[Examples, int], Draw]
"""Development rows and a seed to a draw."""


@dataclass(frozen=True)
class RandomRows:
    """A fresh random draw of training, validation and selection rows per replicate.

    Stratified: each part gets its share of the rows of every class, of the rarest class of a row
    where it has several targets, and of the labelled rows of every task. Rows of one group stay
    together: whole groups are drawn, each with the same probability, with the same share of large
    and small groups and of groups with a rare class in each part.

    Args:
        validation_share: Share of the development rows that decide when to stop.
        evaluation_share: Share of the development rows that decide between networks.
        used_share: Share of the rows of each part that are used, to save time.

    Example:
        >>> rows = Examples(torch.zeros(10, 1), torch.tensor([[0.0]] * 8 + [[1.0]] * 2))
        >>> draw = RandomRows(validation_share=0.5, evaluation_share=0.0)(rows, seed=0)
        >>> rows.targets[draw.training].sum().item(), rows.targets[draw.validation].sum().item()
        (1.0, 1.0)
    """

    validation_share: float = 0.2
    evaluation_share: float = 0.2
    used_share: float = 1.0

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.evaluation_share, self.used_share)

    def __call__(self, development: Examples, seed: int) -> Draw:
        """Draw with this seed."""
        generator = torch.Generator().manual_seed(seed)
        return self._draw(development, generator).thinned(self.used_share, generator)

    def _draw(self, development: Examples, generator: torch.Generator) -> Draw:
        if development.groups is not None:
            return self._draw_groups(development, development.groups, generator)
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

    def _draw_groups(
        self, development: Examples, groups: Int[Tensor, " row"], generator: torch.Generator
    ) -> Draw:
        _, number, sizes = groups.unique(return_inverse=True, return_counts=True)
        check_enough_groups(len(sizes), parts=3 if self.evaluation_share else 2)
        strata = _strata(development)
        rarity = strata.bincount().argsort().argsort()[strata]  # row; 0: of the rarest stratum
        rarest = torch.full_like(sizes, len(rarity)).scatter_reduce(0, number, rarity, "amin")
        kind = rarest * 64 + sizes.double().log2().floor().long()
        order = torch.randperm(len(sizes), generator=generator)
        rest = order[torch.argsort(kind[order], stable=True)]
        evaluation = rest[:0]
        if self.evaluation_share:
            rest, evaluation = _at_least_one(rest, self.evaluation_share, generator)
        training, validation = _at_least_one(
            rest, self.validation_share / (1 - self.evaluation_share), generator
        )
        rows = torch.randperm(len(development), generator=generator)
        return Draw(
            training=rows[torch.isin(number[rows], training)],
            validation=torch.isin(number, validation).nonzero().squeeze(1),
            evaluation=torch.isin(number, evaluation).nonzero().squeeze(1),
        )


@dataclass(frozen=True)
class TimeBlocks:
    """A fresh draw of whole blocks of neighbouring rows for each part of a replicate.

    Neighbours in time resemble each other; a validation row between two training rows would say
    little about the future. Rows of one group stay together: blocks are then of groups that are
    neighbours in time, by the median place of their rows.

    Args:
        validation_share: Share of the blocks that decide when to stop.
        evaluation_share: Share of the blocks that decide between networks.
        blocks: Number of blocks that the development rows are split into.
        used_share: Share of the rows of each part that are used, to save time.

    Example:
        >>> rows = Examples(torch.zeros(40, 1), torch.zeros(40, 1))
        >>> draw = TimeBlocks(0.25, 0.25, blocks=4)(rows, seed=0)
        >>> (draw.validation.max() - draw.validation.min()).item(), len(draw.training)
        (9, 20)
    """

    validation_share: float = 0.2
    evaluation_share: float = 0.2
    blocks: int = 20
    used_share: float = 1.0

    def __post_init__(self) -> None:
        _check_shares(self.validation_share, self.evaluation_share, self.used_share)
        check_number("the number of blocks of time", self.blocks, least=3)

    def __call__(self, development: Examples, seed: int) -> Draw:
        """Draw with this seed."""
        generator = torch.Generator().manual_seed(seed)
        block = torch.arange(len(development)) * self.blocks // max(1, len(development))
        n_blocks = self.blocks
        if development.groups is not None:
            block = _blocks_of_groups(development.groups, self.blocks)
            n_blocks = int(block.max()) + 1
            check_enough_groups(n_blocks, parts=3 if self.evaluation_share else 2)
        shuffled = torch.randperm(n_blocks, generator=generator)
        n_validation = max(1, round(n_blocks * self.validation_share))
        n_evaluation = round(n_blocks * self.evaluation_share)
        if self.evaluation_share:
            n_evaluation = max(1, n_evaluation)
        is_validation = torch.isin(block, shuffled[:n_validation])
        is_evaluation = torch.isin(block, shuffled[n_validation : n_validation + n_evaluation])
        rows = torch.randperm(len(development), generator=generator)
        return Draw(
            training=rows[~(is_validation | is_evaluation)[rows]],
            validation=is_validation.nonzero().squeeze(1),
            evaluation=is_evaluation.nonzero().squeeze(1),
        ).thinned(self.used_share, generator)


def _comb(
    rows: Int[Tensor, " row"], share: float, generator: torch.Generator
) -> tuple[Int[Tensor, " rest"], Int[Tensor, " taken"]]:
    """Systematic sampling with a random start."""
    teeth = (torch.arange(len(rows) + 1) + torch.rand((), generator=generator)).double()
    is_taken = (teeth * share).floor().diff() > 0
    return rows[~is_taken], rows[is_taken]


def _at_least_one(
    groups: Int[Tensor, " group"], share: float, generator: torch.Generator
) -> tuple[Int[Tensor, " rest"], Int[Tensor, " taken"]]:
    """As `_comb`, but both parts have a group."""
    rest, taken = _comb(groups, share, generator)
    if len(rest) and len(taken):
        return rest, taken
    one = int(torch.randint(len(groups), (), generator=generator))
    alone, others = groups[one : one + 1], torch.cat([groups[:one], groups[one + 1 :]])
    return (others, alone) if len(rest) else (alone, others)


def check_enough_groups(n_groups: int, parts: int) -> None:
    """Check that each part of a split can have a group of its own."""
    if n_groups < parts:
        raise InputError(
            f"Expected at least {parts} groups of rows for {parts} parts of a split that share no "
            f"group, but got {n_groups}. Choose a group column with more values, or leave it out.",
            "too-few-groups",
        )


def _blocks_of_groups(groups: Int[Tensor, " row"], blocks: int) -> Int[Tensor, " row"]:
    """The block of each row: groups in the order of the median place of their rows."""
    _, number, sizes = groups.unique(return_inverse=True, return_counts=True)
    by_group = number.argsort(stable=True)  # the rows of each group, in order of time
    median = by_group[sizes.cumsum(0) - 1 - sizes // 2]
    in_time = median.argsort()
    before = torch.zeros_like(sizes)
    before[in_time] = sizes[in_time].cumsum(0) - sizes[in_time]
    block = (before + sizes // 2) * blocks // len(groups)
    return block.unique(return_inverse=True)[1][number]


def _check_shares(validation: float, evaluation: float, used: float) -> None:
    check_number("the used share", used, "invalid-share", above=0, most=1)
    check_number("the validation share", validation, "invalid-share", above=0, below=1)
    check_number("the evaluation share", evaluation, "invalid-share", least=0, below=1)
    both = "the sum of the validation share and the evaluation share"
    check_number(both, round(validation + evaluation, 9), "invalid-share", below=1)


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
