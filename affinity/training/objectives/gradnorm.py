"""GradNorm: weights that let all tasks train at a similar rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from affinity.errors import check_number

from .objective import Balance, Objective
from .task_gradients import shared_gradients


@dataclass(frozen=True)
class GradNorm(Objective):
    r"""Weights under which gradient norms follow the tasks' inverse training rates.

    .. math::
        L_{grad} = \sum_k \left| w_k \lVert \nabla L_k \rVert - \bar{G} \, r_k^\alpha \right|,
        \qquad r_k = \frac{L_k / L_k(0)}{\mathrm{mean}_l\, L_l / L_l(0)}

    where :math:`\bar{G}` is the mean of :math:`w_k \lVert \nabla L_k \rVert`. The weights take a
    step down this loss after every batch and are scaled to sum to the number of tasks. The
    gradients are those on all shared parameters, where the paper takes the last shared layer.
    Costs one more backward pass per task.

    Args:
        alpha: How strongly slow tasks are pushed; 0 makes all norms equal.
        learning_rate: Step size of the weights.

    References:
        Chen et al. (2018), `GradNorm: Gradient Normalization for Adaptive Loss Balancing
        <https://arxiv.org/abs/1711.02257>`_, equation 2 and algorithm 1.
    """

    alpha: float = 1.5
    learning_rate: float = 0.025

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, "invalid-setting", least=0)
        check_number("learning_rate", self.learning_rate, "invalid-setting", above=0)

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        return _Norms(self, like.new_ones(len(names)))


class _Norms(Balance):
    def __init__(self, settings: GradNorm, start: Tensor) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("weights", start)
        self.register_buffer("first", torch.full_like(start, torch.nan))

    weights: Tensor
    first: Tensor

    def backward(self, losses: Sequence[Tensor], is_present: Tensor, rest: Tensor) -> None:
        here = is_present.nonzero().squeeze(1)
        norms = shared_gradients([losses[task] for task in here.tolist()]).norm(dim=1)
        together = torch.stack(list(losses))
        current = together.detach()
        self.first.copy_(torch.where(self.first.isnan() & is_present, current, self.first))
        ratio = (current / self.first.clamp(min=1e-12))[here]
        rate = ratio / ratio.mean().clamp(min=1e-12)
        weighted = self.weights[here] * norms
        goal = weighted.mean() * rate**self.settings.alpha
        ((self.weights * together).sum() + rest).backward()
        slope = torch.sign(weighted - goal) * norms
        self.weights[here] -= self.settings.learning_rate * slope
        self.weights.clamp_(min=1e-3)
        self.weights *= len(self.weights) / self.weights.sum()
