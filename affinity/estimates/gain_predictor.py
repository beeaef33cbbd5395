"""Gain predictor: expected gains of groups that were not trained."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class GainPredictor(Protocol):
    """Predicts gains of groups; `CalibratedGains` learns how much to rely on it.

    `PredictedGains` (also those from short branches) and `LinearizedNetwork` are gain predictors.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the columns."""
        ...

    def mean(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """Expected gains; 0 for a task alone, NaN for tasks that are not in the group."""
        ...
