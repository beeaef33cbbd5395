"""Preserve random states, buffers and what modules keep while a run is observed."""

import ctypes
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from .kept_state import KeptState

MERSENNE_BYTES = 625 * 4
"""Size of NumPy's generator in memory: 624 words and a position."""


@contextmanager
def preserve_state(
    model: nn.Module,
    *,
    and_called: bool = False,
    functions: Iterable[object] = (),
    parameters: Iterable[Tensor] = (),
) -> Generator[Callable[[], bool]]:
    """Restore random states, buffers, and what modules keep in plain attributes, at the end.

    Yields a function that restores them earlier, so that several evaluations start from the same
    state (and share dropout masks); it returns whether random numbers were drawn.

    Tensors are restored without changing their version counters, and what is written to them
    inside does not change the counters either: the user's own backward pass, which comes later,
    finds the versions that it saved.

    Args:
        model: The module whose state is preserved.
        and_called: Whether to preserve the state of every other module that is called, too.
        functions: Functions whose variables are preserved, too.
        parameters: Parameters that forward passes change.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with preserve_state(norm) as restore:
        ...     _ = norm(torch.randn(4, 1))
        ...     restore()
        True
        >>> norm.num_batches_tracked.item()
        0
    """
    saved: list[tuple[Tensor, Tensor]] = []
    buffers: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = []
    known: set[int] = set()
    states = RandomStates(accelerators(model))

    def restore() -> bool:
        for tensor, copy in saved:
            tensor.data.copy_(copy)
        for by_name, before in buffers:
            if any(by_name.get(name) is not buffer for name, buffer in before.items()):
                by_name.update(before)
        kept.restore()
        return states.restore()

    with ExitStack() as stack:

        def keep(tensor: Tensor, copy: Tensor) -> None:
            saved.append((tensor, copy))
            stack.enter_context(
                torch.autograd._unsafe_preserve_version_counter(tensor)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            )

        def save(module: nn.Module, *_: object) -> None:
            parts = [part for part in module.modules() if id(part) not in known]
            for part in parts:
                known.add(id(part))
                by_name = part._buffers  # pyright: ignore[reportPrivateUsage]
                buffers.append((by_name, dict(by_name)))
                for buffer in by_name.values():
                    if buffer is not None:
                        keep(buffer, buffer.detach().clone())
            kept.add_modules(parts)
            keep_tensors()

        def keep_tensors() -> None:
            while kept.tensors:
                keep(*kept.tensors.pop())

        kept = KeptState(save)
        save(model)
        for function in functions:
            kept.add_function(function)
        keep_tensors()
        for parameter in parameters:
            keep(parameter, parameter.detach().clone())
        if and_called:
            stack.callback(register_module_forward_pre_hook(save).remove)
        try:
            yield restore
        finally:
            restore()


class RandomStates:
    """Copies of the states of PyTorch's, Python's and NumPy's global random generators.

    Args:
        devices: Accelerators whose generators are included.

    Example:
        >>> states = RandomStates([])
        >>> first = torch.rand(1)
        >>> states.restore()
        True
        >>> torch.equal(torch.rand(1), first)
        True
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self._torch = self._torch_states()
        self._python = random.getstate()
        self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        self._mersenne = _mersenne_states()

    def restore(self) -> bool:
        """Restore the states, and return whether anything was drawn since they were copied."""
        has_drawn = not self._are_unchanged()
        if has_drawn:
            torch.set_rng_state(self._torch[0])
            for device, state in zip(self._devices, self._torch[1:], strict=True):
                torch.get_device_module(device).set_rng_state(state, *_which(device))
            random.setstate(self._python)
            np.random.set_state(self._numpy)  # noqa: NPY002 # pyright: ignore[reportArgumentType]
        return has_drawn

    def _are_unchanged(self) -> bool:
        pairs = zip(self._torch, self._torch_states(), strict=True)
        return (
            all(torch.equal(before, now) for before, now in pairs)
            and self._mersenne == _mersenne_states()
            and not self._drew_stored_normal()
        )

    def _drew_stored_normal(self) -> bool:
        """NumPy draws normal numbers in pairs: taking the second does not move the generator."""
        before = self._numpy
        assert isinstance(before, dict)
        if not before["has_gauss"]:
            return False
        now = np.random.get_state(legacy=False)  # noqa: NPY002
        assert isinstance(now, dict)
        return not now["has_gauss"]

    def _torch_states(self) -> list[Tensor]:
        modules = [(torch.get_device_module(device), device) for device in self._devices]
        of_devices = (module.get_rng_state(*_which(device)) for module, device in modules)
        return [torch.get_rng_state(), *of_devices]


def _which(device: torch.device) -> tuple[torch.device, ...]:
    """The device as an argument; none of the functions of ``torch.mps`` takes one."""
    return () if device.type == "mps" else (device,)


def advance_generators(devices: Sequence[torch.device]) -> None:
    """Draw a number from every generator."""
    for device in (torch.device("cpu"), *devices):
        torch.rand(1, device=device)
    random.random()
    np.random.random()  # noqa: NPY002


def accelerators(model: nn.Module) -> list[torch.device]:
    """Devices of the model's parameters that have a random generator of their own."""
    devices = {parameter.device for parameter in model.parameters()}
    return [device for device in devices if device.type in {"cuda", "xpu", "mps"}]


def _mersenne_states() -> tuple[object, ...]:
    """Python's and NumPy's global generators, as far as is needed to notice a draw.

    Of Python's 624 words, a few are compared: a draw changes the position, or all words.
    NumPy's generator is read from memory: building its state as a dictionary takes 60 us.
    """
    _, words, stored_normal = random.getstate()
    generator = np.random.get_bit_generator()  # pyright: ignore
    if isinstance(generator, np.random.MT19937):
        numpy_state = ctypes.string_at(generator.ctypes.state_address, MERSENNE_BYTES)
    else:
        numpy_state = repr(generator.state).encode()
    return words[-1], words[:8], stored_normal, numpy_state
