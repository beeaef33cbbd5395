"""Early stopping: the best epoch of each member of a stack, and the tensors of that epoch."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .stacked_tensors import StackedTensors


class EarlyStopping:
    """The best epoch of each member, by its own validation loss."""

    def __init__(self, tensors: StackedTensors, shape: tuple[int, int]) -> None:
        self._lowest_score = torch.full(shape[:1], math.inf, dtype=torch.double)
        self._lowest_loss = torch.full(shape, math.inf, dtype=torch.double)
        self.epochs: Int[Tensor, " member"] = torch.zeros(shape[0], dtype=torch.long)
        self.best_epoch: Int[Tensor, " member"] = torch.zeros(shape[0], dtype=torch.long)
        self.best_epoch_of_slot: Int[Tensor, "member slot"] = torch.zeros(shape, dtype=torch.long)
        self.kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def see(
        self,
        epoch: int,
        members: Int[Tensor, " here"],
        going: Bool[Tensor, " here"],
        score: Float[Tensor, " here"],
        losses: Float[Tensor, "here slot"],
        tensors: StackedTensors,
    ) -> None:
        """Update the best epochs with the losses of one epoch, counted from 1.

        `going` are the members in `tensors` that are still trained; `score` decides when they stop.
        """
        self.epochs[members[going]] = epoch
        is_better = going & ((score < self._lowest_score[members]) | score.isnan())
        better = members[is_better]
        self._lowest_score[better] = score[is_better]
        self.best_epoch[better] = epoch
        for name, tensor in tensors.items():
            self.kept[name][better] = tensor.detach()[is_better]
        before = self._lowest_loss[members]
        is_lower = going.unsqueeze(1) & ((losses < before) | losses.isnan())
        self._lowest_loss[members] = losses.double().where(is_lower, before)
        self.best_epoch_of_slot[members] = torch.where(
            is_lower, epoch, self.best_epoch_of_slot[members]
        )
