"""Meta-training: the outer loop that minimizes a loss over batches of tasks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from affinity.errors import DivergenceError, check_number
from affinity.progress import track
from affinity.training.device import AUTO, check_device, use_seed

from .network import Parameters
from .random_numbers import generator_of


@dataclass(frozen=True)
class MetaTraining:
    """Adam on batches of tasks, with a cosine schedule of the learning rate.

    Args:
        iterations: Number of batches.
        batch: Tasks per batch; by default 32, or all meta-training tasks if there are fewer.
        learning_rate: Initial learning rate.
        device: Where networks are trained and adapted, as in `TrainingSettings`. Rows and
            predictions stay on the CPU.

    Raises:
        InputError: If a setting is out of range, or this machine has no such device.
    """

    iterations: int = 500
    batch: int | None = None
    learning_rate: float = 2e-3
    device: str = field(default=AUTO, repr=False)

    def __post_init__(self) -> None:
        check_device(self.device)
        for name in ("iterations", "batch"):
            check_number(name, getattr(self, name), f"invalid-{name}", least=1)
        check_number(
            "learning_rate", self.learning_rate, "invalid-learning-rate", above=0, below=inf
        )

    def rate_at(self, iteration: int) -> float:
        """The learning rate in an iteration, counted from 0.

        Example:
            >>> MetaTraining(iterations=10, learning_rate=0.5).rate_at(5)
            0.25
        """
        return self.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


def meta_train(
    settings: MetaTraining,
    parameters: Parameters,
    loss_of: Callable[[Parameters, torch.Generator], Tensor],
    seed: int,
    name: str,
) -> Parameters:
    """Minimize a loss of tasks or rows that `loss_of` draws; returns the final parameters."""
    parameters = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    optimizer = torch.optim.Adam(parameters.values(), lr=settings.learning_rate)
    generator = generator_of(seed, "meta-training")
    with use_seed(seed), track(name, settings.iterations) as progress:
        for iteration in range(settings.iterations):
            loss = loss_of(parameters, generator)
            if not math.isfinite(value := float(loss.detach())):
                raise DivergenceError(
                    f"The loss of {name} became {value} at iteration {iteration} of meta-training. "
                    "Lower the inner rate or the learning rate, or look for extreme inputs."
                )
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(iteration)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            progress.advance()
    return {key: value.detach() for key, value in parameters.items()}
