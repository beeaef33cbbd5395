"""Sine waves: the regression on which MAML was first shown."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples, RSquared, SquaredError, Task

from .episodes import Episodes
from .family import Family, Joint

ROWS_A_TASK = 10


@dataclass(frozen=True)
class SineWaves(Family):
    r"""A task is a sine wave of its own amplitude and phase, without noise.

    .. math::
        y = A \sin(x - b), \quad A \sim U(0.1, 5), \; b \sim U(0, \pi), \; x \sim U(-5, 5)

    A network trained on all of them at once learns their mean, which is no wave that exists.

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

    def __post_init__(self) -> None:
        if not 0 <= self.least_amplitude <= self.most_amplitude:
            raise InputError(
                f"Expected amplitudes from 0 up, but got {self.least_amplitude} to "
                f"{self.most_amplitude}."
            )

    @property
    def task(self) -> Task:
        """A regression with squared error."""
        return Task("height", SquaredError(), RSquared())

    @property
    def n_tasks(self) -> float:
        """As many as are wanted."""
        return math.inf

    def draw(self, count: int, shots: int, queries: int, generator: torch.Generator) -> Episodes:
        """Draw waves, and places on each."""
        self.check_shots(shots, queries)
        inputs, targets = self._waves(count, shots + queries, generator)
        return Episodes(
            inputs[:, :shots], targets[:, :shots], inputs[:, shots:], targets[:, shots:]
        )

    def joint(self, count: int, generator: torch.Generator) -> Joint:
        """Places on waves of all kinds, ten of each."""
        inputs, targets = self._waves(-(-count // ROWS_A_TASK), ROWS_A_TASK, generator)
        rows = Examples(inputs.flatten(0, 1)[:count], targets.flatten()[:count].unsqueeze(1))
        return Joint(self.task, rows)

    def specimens(self, count: int, generator: torch.Generator) -> list[Examples]:
        """Fresh waves with 50 places each."""
        return [
            Examples(inputs, targets.unsqueeze(1))
            for inputs, targets in zip(*self._waves(count, 50, generator), strict=True)
        ]

    def _waves(
        self, count: int, rows: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "task row 1"], Float[Tensor, "task row"]]:
        amplitude, phase = torch.rand(2, count, 1, generator=generator)
        amplitude = self.least_amplitude + (self.most_amplitude - self.least_amplitude) * amplitude
        places = 10 * torch.rand(count, rows, generator=generator) - 5
        return places.unsqueeze(-1), amplitude * (places - self.most_phase * phase).sin()
