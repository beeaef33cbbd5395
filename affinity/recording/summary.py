"""Recording summary: what the tasks of a recorded run share, and what recording cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from .schedule import RecordingCost


@dataclass(frozen=True)
class RecordingSummary:
    """What the tasks of a recorded run share, how it was recorded, and what that cost.

    Args:
        shared: Number of shared numbers by module.
        private: Number of trained numbers that are not shared by module; empty if the recorder
            knows the shared part alone.
        level: Where gradients were taken.
        notes: What a reader of the trace should know.
    """

    shared: Mapping[str, int]
    private: Mapping[str, int]
    level: str
    cost: RecordingCost
    notes: tuple[str, ...] = ()


def numbers_by_module(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """The number of elements of the parameters of each module."""
    numbers: dict[str, int] = {}
    for name, parameter in parameters:
        module = name.rpartition(".")[0] or name
        numbers[module] = numbers.get(module, 0) + parameter.numel()
    return numbers
