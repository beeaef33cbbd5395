"""Dynamic weight average: tasks whose loss falls slowly get larger weights.

Written by hand because it is twenty lines and needs no extra dependency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from affinity.errors import check_number

from .objective import Balance, Objective, WeightedSum


@dataclass(frozen=True)
class DynamicWeightAverage(Objective):
    r"""Weights from how much the losses fell between the last two epochs.

    .. math::
        w_k(t) = T \, \mathrm{softmax}_k\!\left(\frac{L_k(t-1)}{L_k(t-2)} \Big/ \tau\right)

    with the mean training losses of epochs; 1 in the first two epochs.

    Args:
        temperature: :math:`\tau`; large makes all weights 1.

    References:
        Liu et al. (2019), `End-to-End Multi-Task Learning with Attention
        <https://arxiv.org/abs/1803.10704>`_, equation 7.
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "invalid-temperature", above=0)

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        return _Falling(self.temperature, like.new_ones(2, len(names)))


class _Falling(WeightedSum):
    def __init__(self, temperature: float, start: Tensor) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("before", start)  # the last epoch and the one before it
        self.register_buffer("epochs", torch.zeros(()))

    before: Tensor
    epochs: Tensor

    def weights(self) -> Tensor:
        if self.epochs < 2:
            return torch.ones_like(self.before[0])
        rate = self.before[0] / self.before[1].clamp(min=1e-12)
        return len(rate) * (rate / self.temperature).softmax(dim=0)

    def end_epoch(self, losses: Tensor) -> None:
        self.before.copy_(torch.stack([losses, self.before[0]]))
        self.epochs += 1
