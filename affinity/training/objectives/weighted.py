"""Fixed weights, given by the user."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from affinity.errors import InputError

from .objective import Balance, Fixed, Objective


@dataclass(frozen=True)
class Weighted(Objective):
    """A weighted sum of the losses.

    Args:
        weights: A name and its weight for each task; tasks that are not named weigh 1.

    Raises:
        InputError: If a weight is negative or not finite.

    Example:
        >>> Weighted((("depth", 0.5),)).fixed_weights(("depth", "edges"))
        [0.5, 1.0]
    """

    weights: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        for name, weight in self.weights:
            if not 0 <= weight < float("inf"):
                raise InputError(
                    f"Expected a weight of at least 0 for task {name!r}, but got {weight}.",
                    "invalid-weight",
                )

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        return Fixed(like.new_tensor(self.fixed_weights(names)))

    def fixed_weights(self, names: Sequence[str]) -> list[float]:
        """The weight of each task."""
        weights = dict(self.weights)
        return [weights.get(name, 1.0) for name in names]
