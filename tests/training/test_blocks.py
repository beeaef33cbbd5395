"""Blocks of test rows: as good as the rows, at little memory."""

import math

import pytest
import torch
from torch import Tensor

from affinity.tasks import BinaryCrossEntropy, RocAuc, RSquared, SquaredError, Task
from affinity.training.judge import MOST_BLOCKS, block_losses


@pytest.mark.parametrize("n_rows", [1, 50, MOST_BLOCKS, MOST_BLOCKS + 1, 1000, 12345])
def test_blocks_are_few_alike_in_size_and_together_the_loss(n_rows: int) -> None:
    generator = torch.Generator().manual_seed(n_rows)
    prediction = torch.randn(n_rows, 1, generator=generator, dtype=torch.double)
    target = torch.ones(n_rows, dtype=torch.double)
    task = Task("sign", BinaryCrossEntropy(), RocAuc())
    blocks = torch.tensor(block_losses(task, prediction, target))
    assert len(blocks) <= MOST_BLOCKS
    assert n_rows < 2 * MOST_BLOCKS or len(blocks) > MOST_BLOCKS / 2
    sizes = torch.tensor([len(rows) for rows in target.tensor_split(len(blocks))])
    assert sizes.max() - sizes.min() <= 1
    whole = float((blocks * sizes).sum() / sizes.sum())
    assert whole == pytest.approx(float(task.loss(prediction, target)))


def test_rows_without_a_label_take_no_place() -> None:
    prediction, target = torch.arange(6.0)[:, None], torch.zeros(6)
    target[::2] = math.nan
    task = Task("sum", SquaredError(), RSquared())
    assert block_losses(task, prediction, target) == [1.0, 9.0, 25.0]
    assert block_losses(task, prediction, torch.full((6,), math.nan)) == []


def test_a_loss_that_vmap_cannot_follow_is_followed_block_by_block() -> None:
    def stubborn(prediction: Tensor, target: Tensor) -> Tensor:
        labelled = ~target.isnan()
        return (prediction[:, 0] - target)[labelled].square().mean()

    task = Task("sum", stubborn, RSquared())
    assert block_losses(task, torch.zeros(2, 1), torch.tensor([1.0, 2.0])) == [1.0, 4.0]
