"""Sine waves: the regression on which MAML was introduced."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import check_number

from .family import GeneratedRegressions


@dataclass(frozen=True)
class SineWaves(GeneratedRegressions):
    r"""Each task is a sine wave with its own amplitude and phase, without noise.

    .. math::
        y = A \sin(x - b), \quad A \sim U(0.1, 5), \; b \sim U(0, \pi), \; x \sim U(-5, 5)

    A network trained on all tasks at once learns their mean, which is not itself a sine wave of the
    family.

    Args:
        least_amplitude: The smallest A.
        most_amplitude: The largest A.
        most_phase: The largest b.

    References:
        Finn et al. (2017), `Model-Agnostic Meta-Learning <https://arxiv.org/abs/1703.03400>`_,
        section 5.1.

    Example:
        >>> waves = SineWaves(least_amplitude=2.0, most_amplitude=2.0, most_phase=0.0)
        >>> batch = waves.draw(1, shots=5, queries=3, generator=torch.Generator().manual_seed(0))
        >>> torch.allclose(batch.support_targets, 2 * batch.support_inputs.squeeze(-1).sin())
        True
    """

    least_amplitude: float = 0.1
    most_amplitude: float = 5.0
    most_phase: float = math.pi
    rows_per_task: ClassVar[int] = 10

    def __post_init__(self) -> None:
        least = self.least_amplitude
        check_number("least_amplitude", least, "invalid-amplitude", least=0)
        check_number("most_amplitude", self.most_amplitude, "invalid-amplitude", least=least)

    def generate(
        self, count: int, rows: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "task row 1"], Float[Tensor, "task row"]]:
        """Sine waves, and points on each."""
        amplitude, phase = torch.rand(2, count, 1, generator=generator)
        amplitude = self.least_amplitude + (self.most_amplitude - self.least_amplitude) * amplitude
        inputs = 10 * torch.rand(count, rows, generator=generator) - 5
        return inputs.unsqueeze(-1), amplitude * (inputs - self.most_phase * phase).sin()
