"""The step that a lookahead takes along one task's gradient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Step = Callable[[Sequence[Tensor], Sequence[Tensor]], list[Tensor]]
"""From parameter values and gradients to the values after the step."""


@dataclass(frozen=True)
class GradientStep:
    """A plain gradient step: no momentum, no weight decay, as in the TAG paper.

    Example:
        >>> GradientStep(0.5)([torch.tensor([1.0])], [torch.tensor([2.0])])
        [tensor([0.])]
    """

    learning_rate: float

    def __call__(self, values: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
        """Values after the step."""
        return [
            torch.add(value, gradient.to(value.dtype), alpha=-self.learning_rate)
            for value, gradient in zip(values, gradients, strict=True)
        ]
