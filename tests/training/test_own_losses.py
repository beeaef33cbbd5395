"""Losses and metrics of the user's own need no handling of NaN."""

import math

import pytest
import torch
from test_ensemble import SETTINGS, TASKS, build, replicates
from torch import Tensor
from torch.nn import functional

from affinity.tasks import SquaredError, Task
from affinity.training import Member, train_members


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(prediction[:, 0], target)


def negative_error(prediction: Tensor, target: Tensor) -> float:
    assert not target.isnan().any()
    return -float(squared_error(prediction, target))


@pytest.mark.parametrize("layout", ["all", "some missing", "one task per row"])
def test_own_losses_never_meet_missing_labels_or_padding(layout: str) -> None:
    own = tuple(
        Task(task.name, squared_error, negative_error)
        if isinstance(task.loss, SquaredError)
        else task
        for task in TASKS
    )
    names = ["sum", "first"]
    members = [
        Member(frozenset(tasks), replicate)
        for tasks in (names, names[:1], [*names, "sign"], names[1:])
        for replicate in range(2)
    ]
    rows = replicates(layout)
    expected = train_members(build, TASKS, members, rows, SETTINGS)
    for known, result in zip(
        expected, train_members(build, own, members, rows, SETTINGS), strict=True
    ):
        assert result.diverged is None
        assert result.epochs == known.epochs
        for task in result.tasks:
            for losses in ("training_loss", "validation_loss", "test_loss"):
                loss, known_loss = getattr(result, losses)[task], getattr(known, losses)[task]
                assert math.isclose(loss, known_loss, rel_tol=1e-6)
            assert torch.allclose(
                torch.tensor(result.test_blocks[task]), torch.tensor(known.test_blocks[task])
            )
            assert result.test_metric[task] < 0 or task == "sign"
