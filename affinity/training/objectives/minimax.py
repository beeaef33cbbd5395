"""Minimax: follow the worst task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .objective import Balance, Objective


@dataclass(frozen=True)
class Minimax(Objective):
    r"""Minimize the largest of the tasks' losses.

    .. math::
        \min_\theta \max_k L_k

    Only the worst task of a batch gives the step. Losses are compared as they are: tasks on
    different scales need losses that are scaled first. Early stopping follows the worst task, too.
    """

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        del names, like
        return _Worst()

    def score(self, losses: Tensor, scales: Tensor, weights: Tensor | None = None) -> Tensor:
        """The largest validation loss.

        Example:
            >>> Minimax().score(torch.tensor([2.0, 3.0, torch.nan]), torch.ones(3)).item()
            3.0
        """
        del scales, weights
        is_known = ~losses.isnan()
        worst = losses.where(is_known, -torch.inf).amax(dim=-1)
        return worst.where(is_known.any(dim=-1), torch.nan)


class _Worst(Balance):
    def backward(self, losses: Sequence[Tensor], is_present: Tensor, rest: Tensor) -> None:
        (torch.stack(list(losses))[is_present].max() + rest).backward()
