"""How the outer loop of meta-training is run."""

import math
from dataclasses import dataclass

from affinity.errors import InputError


@dataclass(frozen=True)
class MetaTraining:
    """Adam on batches of tasks, with a step size that falls along half a cosine.

    Args:
        iterations: Batches.
        batch: Tasks a batch; by default 32, or as many as there are to meta-train on.
        learning_rate: Step size of Adam at the start.

    Raises:
        InputError: If a setting is out of range.
    """

    iterations: int = 500
    batch: int | None = None
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        for name in ("iterations", "batch"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"Expected {name} of at least 1, but got {value}.")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(
                f"Expected a positive, finite learning_rate, but got {self.learning_rate}."
            )

    def rate_at(self, iteration: int) -> float:
        """The step size in an iteration, counted from 0.

        Example:
            >>> MetaTraining(iterations=10, learning_rate=0.5).rate_at(5)
            0.25
        """
        return self.learning_rate * (1 + math.cos(math.pi * iteration / self.iterations)) / 2
