"""Fixed weights, given by the user."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from torch import Tensor

from affinity.errors import check_known, check_number

from .objective import Balance, Fixed, Objective


@dataclass(frozen=True)
class Weighted(Objective):
    """A weighted sum of the losses; early stopping follows it, too.

    Args:
        weights: A name and its weight for each task; tasks that are not named weigh 1.

    Raises:
        InputError: If a weight is not above 0 and finite, or in a training if a task is unknown.

    Example:
        >>> Weighted((("depth", 0.5),)).fixed_weights(("depth", "edges"))
        [0.5, 1.0]
    """

    weights: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        for name, weight in self.weights:
            check_number(f"the weight of {name!r}", weight, "invalid-weight", above=0, below=inf)

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        return Fixed(like.new_tensor(self.fixed_weights(names)))

    def fixed_weights(self, names: Sequence[str]) -> list[float]:
        """The weight of each task."""
        weights = dict(self.weights)
        return [weights.get(name, 1.0) for name in names]

    def score(self, losses: Tensor, scales: Tensor, weights: Tensor | None = None) -> Tensor:
        """The weighted mean of the validation losses.

        Example:
            >>> import torch
            >>> losses, weights = torch.tensor([2.0, 5.0]), torch.tensor([2.0, 1.0])
            >>> Weighted(()).score(losses, torch.ones(2), weights).item()
            3.0
        """
        del scales
        assert weights is not None
        known = weights.where(~losses.isnan(), 0.0)
        return (known * losses.nan_to_num(nan=0.0)).sum(dim=-1) / known.sum(dim=-1)

    def check_tasks(self, names: Sequence[str]) -> None:
        """Raise an error if a weight is given for an unknown task."""
        check_known("weights of tasks", dict(self.weights), names, "unknown-task")
