"""Device: where networks are trained. Rows and results stay on the CPU, between trainings."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import Examples

AUTO = "auto"


def check_device(name: str) -> None:
    """Refuse a device that does not exist here."""
    if name == AUTO:
        return
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError(
            f"Expected a device such as 'auto', 'cpu', 'cuda' or 'cuda:1', but got {name!r}.",
            "unknown-device",
        ) from None
    if device.type != "cpu" and not _is_here(device):
        raise InputError(
            f"Expected a device of this machine, but it has no {name!r}. 'auto' takes a GPU where "
            "there is one, and otherwise the CPU.",
            "no-device",
        )


def find_device(name: str) -> torch.device:
    """The device of this name; for ``auto`` a CUDA GPU if there is one, otherwise the CPU."""
    if name == AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def find_gpus(name: str) -> list[str]:
    """All visible CUDA GPUs if ``auto`` or ``cuda`` leaves open which one; otherwise none."""
    n_gpus = torch.cuda.device_count() if name in (AUTO, "cuda") else 0
    return [f"cuda:{number}" for number in range(n_gpus)]


def move_rows(examples: Examples, device: torch.device) -> Examples:
    """The rows on a device; their groups stay where they are. No copy if they are there."""
    if examples.targets.device == device == examples.inputs_of(slice(0)).device:
        return examples
    return Examples(
        examples.inputs.to(device),
        examples.targets.to(device),
        examples.groups,
        None if examples.weights is None else examples.weights.to(device),
    )


def move_to_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict on the CPU."""
    return {name: value.cpu() for name, value in state.items()}


@contextmanager
def use_device(network: nn.Module, device: torch.device) -> Generator[None]:
    """Have the network on this device inside the block, and afterwards where it was."""
    before = next((parameter.device for parameter in network.parameters()), device)
    network.to(device)
    try:
        yield
    finally:
        network.to(before)


@contextmanager
def use_seed(seed: int | None = None) -> Generator[None]:
    """Seed the random numbers of every device in the block, and restore their state afterwards."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def _is_here(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "mps" and torch.backends.mps.is_available()
