"""Objectives: how the losses of several tasks become one step."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Balance(nn.Module, ABC):
    """An objective at work in one training.

    What it learns stands in parameters, which the training's optimizer updates, what it remembers
    in buffers; both are saved in checkpoints.
    """

    @abstractmethod
    def backward(
        self, losses: Sequence[Tensor], is_present: Bool[Tensor, " task"], rest: Tensor
    ) -> None:
        """Put gradients into the parameters that the losses depend on.

        Args:
            losses: The tasks' losses on this batch, one by one, so that each keeps a graph of its
                own; 0 for a task without labels in it.
            is_present: Whether the batch has labels for a task.
            rest: What is added to the objective whatever the losses (the pull to a source).
        """

    def end_epoch(self, losses: Float[Tensor, " task"]) -> None:
        """Take note of the mean training losses of an epoch."""


class WeightedSum(Balance):
    """A sum of the losses with weights that a subclass decides."""

    def backward(self, losses: Sequence[Tensor], is_present: Tensor, rest: Tensor) -> None:
        """Follow the weighted sum of the losses."""
        del is_present
        ((self.weights() * torch.stack(list(losses))).sum() + rest).backward()

    @abstractmethod
    def weights(self) -> Float[Tensor, " task"]:
        """One weight per task."""


class Objective(ABC):
    """Makes a `Balance` for the tasks of a network; a frozen dataclass of settings."""

    @abstractmethod
    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training.

        Args:
            like: New tensors take its type and device.
        """

    def fixed_weights(self, names: Sequence[str]) -> list[float] | None:
        """The weights of a fixed weighted sum; None for every other objective."""
        del names
        return None

    def score(
        self,
        losses: Float[Tensor, "*network task"],
        scales: Float[Tensor, "*network task"],
        weights: Float[Tensor, "*network task"] | None = None,
    ) -> Float[Tensor, "*network"]:
        """The validation score whose smallest value decides the best epoch; NaN without losses.

        The mean over the tasks of loss / scale, unless the objective says what it minimizes.

        Args:
            losses: Validation losses, NaN without labels.
            scales: The losses of the best constant predictions.
            weights: The fixed weights of the tasks, if the objective has them.

        Example:
            >>> Sum().score(torch.tensor([2.0, 0.5]), torch.tensor([2.0, 1.0])).item()
            0.75
        """
        del weights
        return (losses / scales).nanmean(dim=-1)

    def check_tasks(self, names: Sequence[str]) -> None:
        """Raise an error if a setting names a task that is not among these."""
        del names


@dataclass(frozen=True)
class Sum(Objective):
    """The sum of the losses: all tasks have the weight 1.

    Example:
        >>> Sum().fixed_weights(("depth", "edges"))
        [1.0, 1.0]
    """

    def start(self, names: Sequence[str], like: Tensor) -> Balance:
        """Begin a training."""
        return Fixed(like.new_ones(len(names)))

    def fixed_weights(self, names: Sequence[str]) -> list[float]:
        """1 for every task."""
        return [1.0] * len(names)


class Fixed(WeightedSum):
    """Weights that do not change."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("fixed", weights)

    fixed: Tensor

    def weights(self) -> Tensor:
        """The weights given."""
        return self.fixed
