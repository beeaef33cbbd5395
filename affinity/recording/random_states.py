"""States of the random generators that a forward pass may draw from: PyTorch, Python, NumPy."""

import ctypes
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

MERSENNE_BYTES = 625 * 4
"""Of NumPy's generator in memory: 624 words and a position."""


class RandomStates:
    """The states as they are now, to be put back.

    Args:
        devices: Accelerators whose generators count, too.

    Example:
        >>> states = RandomStates([])
        >>> first = torch.rand(1)
        >>> states.put_back()
        True
        >>> torch.equal(torch.rand(1), first)
        True
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self._torch = self._of_torch()
        self._python = random.getstate()
        self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        self._mersenne = _mersenne()

    def put_back(self) -> bool:
        """Put them back; whether anything was drawn since."""
        has_drawn = not self._are_unchanged()
        if has_drawn:
            torch.set_rng_state(self._torch[0])
            for device, state in zip(self._devices, self._torch[1:], strict=True):
                torch.get_device_module(device).set_rng_state(state, device)
            random.setstate(self._python)
            np.random.set_state(self._numpy)  # noqa: NPY002 # pyright: ignore[reportArgumentType]
        return has_drawn

    def _are_unchanged(self) -> bool:
        return (
            all(torch.equal(a, b) for a, b in zip(self._torch, self._of_torch(), strict=True))
            and self._mersenne == _mersenne()
            and not self._drew_what_numpy_kept()
        )

    def _drew_what_numpy_kept(self) -> bool:
        """NumPy makes normal numbers in pairs: taking the second leaves the generator alone."""
        before = self._numpy
        assert isinstance(before, dict)
        if not before["has_gauss"]:
            return False
        now = np.random.get_state(legacy=False)  # noqa: NPY002
        assert isinstance(now, dict)
        return not now["has_gauss"]

    def _of_torch(self) -> list[Tensor]:
        generators = [
            torch.get_device_module(device).get_rng_state(device) for device in self._devices
        ]
        return [torch.get_rng_state(), *generators]


def draw_some(devices: Sequence[torch.device]) -> None:
    """Move every generator on."""
    for device in (torch.device("cpu"), *devices):
        torch.rand(1, device=device)
    random.random()
    np.random.random()  # noqa: NPY002


def accelerators(model: nn.Module) -> list[torch.device]:
    """Devices of the model's parameters that have a generator of their own."""
    if not torch.cuda.is_initialized() and not torch.xpu.is_initialized():
        return []
    devices = {parameter.device for parameter in model.parameters()}
    return [device for device in devices if device.type in {"cuda", "xpu"}]


def _mersenne() -> tuple[object, ...]:
    """Where Python's and NumPy's global generators are.

    Of Python's 624 words, a few are compared: a draw moves the position, or all of them.
    """
    _, words, kept = random.getstate()
    return words[-1], words[:8], kept, _numpy_memory()


def _numpy_memory() -> bytes:
    """What NumPy's global generator is, without the slow way through its state's dictionary."""
    generator = np.random.get_bit_generator()  # pyright: ignore
    if isinstance(generator, np.random.MT19937):
        address = generator.ctypes.state_address
        return ctypes.string_at(address, MERSENNE_BYTES)
    return repr(generator.state).encode()
