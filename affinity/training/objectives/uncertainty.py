"""Uncertainty weighting: the noise of every task is learned with the network.

Written by hand because it is ten lines and needs no extra dependency.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .objective import Balance, Objective


@dataclass(frozen=True)
class UncertaintyWeighting(Objective):
    r"""Weights that are learned with the network, as variances of the tasks' noise.

    .. math::
        \sum_k \tfrac{1}{2} e^{-s_k} L_k + \tfrac{1}{2} s_k, \qquad s_k = \log \sigma_k^2

    started at :math:`s_k = 0`. At the optimum :math:`e^{s_k} = L_k`: each task is divided by its
    own loss. The paper doubles the first term for classification; here all tasks are treated the
    same, since that only shifts :math:`s_k`.

    References:
        Kendall et al. (2018), `Multi-Task Learning Using Uncertainty to Weigh Losses
        <https://arxiv.org/abs/1705.07115>`_, equation 7.
    """

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        return _Uncertainty(like.new_zeros(len(names)))


class _Uncertainty(Balance):
    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(start)

    def backward(self, losses: Sequence[Tensor], is_present: Tensor, rest: Tensor) -> None:
        together = torch.stack(list(losses))
        each = 0.5 * torch.exp(-self.log_variance) * together + 0.5 * self.log_variance
        ((each * is_present).sum() + rest).backward()
