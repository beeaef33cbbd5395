"""Divergence: a loss that became NaN or infinite."""

from collections.abc import Sequence


def divergence(name: str, loss: float, network: Sequence[str], step: int) -> str:
    """What went wrong, and what to do."""
    return (
        f"The loss of task {name!r} became {loss} at step {step} while training the network of "
        f"{tuple(network)}. Lower the learning rate, or look for extreme inputs and targets."
    )
