"""A forecast: what each task may gain in any group, said before the group was trained."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor


@runtime_checkable
class GainPredictor(Protocol):
    """Foretells gains of groups, well or badly; `CalibratedGains` learns what it is worth.

    `PredictedGains` is one, as from short branches, and so is a `LinearizedNetwork`.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of the columns."""
        ...

    def mean(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """Expected gains; 0 for a task alone, NaN for tasks that are not in the group."""
        ...
