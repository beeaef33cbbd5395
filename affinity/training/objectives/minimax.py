"""Minimax: follow the worst task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .objective import Balance, Objective


@dataclass(frozen=True)
class Minimax(Objective):
    r"""Minimize the largest loss, :math:`\min_\theta \max_k L_k`.

    Only the worst task of a batch gives the step. Losses are compared as they are: tasks on
    different scales need losses that are scaled first.
    """

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        del names, like
        return _Worst()


class _Worst(Balance):
    def backward(self, losses: Sequence[Tensor], is_present: Tensor, rest: Tensor) -> None:
        (torch.stack(list(losses))[is_present].max() + rest).backward()
