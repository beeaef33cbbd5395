"""A recipe: how a network that starts from a source is tuned on a target."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from affinity.errors import InputError
from affinity.transfer.tuning_plan import Phase, TuningPlan


@runtime_checkable
class Recipe(Protocol):
    """Turns the blocks of a network, from inputs to outputs, into a plan of so many epochs."""

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """The last block is the head."""
        ...


def constant(blocks: Sequence[str], scale: float, head: float = 1.0) -> dict[str, float]:
    """One scale for the trunk, another for the head."""
    return {**dict.fromkeys(blocks[:-1], scale), blocks[-1]: head}


def one_phase(
    recipe: str, scales: dict[str, float], epochs: int, fresh: Sequence[str] = (), pull: float = 0.0
) -> TuningPlan:
    """A plan of a single phase."""
    return TuningPlan(recipe, (Phase("tuning", scales, epochs),), tuple(fresh), pull)


def check_share(name: str, value: float) -> None:
    """A setting above 0, and 1 at most.

    Raises:
        InputError: If it is not.
    """
    if not 0 < value <= 1:
        raise InputError(f"Expected a {name} above 0 and of at most 1, but got {value}.")
