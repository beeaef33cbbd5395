"""Look at a run without touching it: random states and buffers are put back."""

import random
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def left_as_found(model: nn.Module, *, and_called: bool = False) -> Generator[Callable[[], bool]]:
    """Put random states and the model's buffers back as they were on entry.

    Yields a function that puts them back in between, so that several evaluations start alike
    (share dropout masks), and tells whether random numbers were drawn since.

    Buffers are written back without raising their version counters, and what is written to them
    inside counts for nothing either: a backward pass that the user has yet to run finds the
    versions it saved.

    Args:
        model: Its buffers are held.
        and_called: Whether to hold those of every other module, too, before it is first called.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> with left_as_found(norm) as put_back:
        ...     _ = norm(torch.randn(4, 1))
        ...     put_back()
        True
        >>> norm.num_batches_tracked.item()
        0
    """
    held: list[tuple[nn.Module, str, Tensor, Tensor]] = []
    known: set[int] = set()
    devices = _accelerators(model)
    states = _random_states(devices)

    def put_back() -> bool:
        for module, name, buffer, copy in held:
            buffer.data.copy_(copy)
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)
        has_drawn = not _are_same(states, _random_states(devices))
        if has_drawn:
            _set_random_states(states, devices)
        return has_drawn

    with ExitStack() as afterwards:

        def hold(module: nn.Module, *_: object) -> None:
            for part in module.modules():
                if id(part) in known:
                    continue
                known.add(id(part))
                for name, buffer in part.named_buffers(recurse=False):
                    held.append((part, name, buffer, buffer.detach().clone()))
                    afterwards.enter_context(
                        torch.autograd._unsafe_preserve_version_counter(buffer)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
                    )

        hold(model)
        if and_called:
            afterwards.callback(register_module_forward_pre_hook(hold).remove)
        try:
            yield put_back
        finally:
            put_back()


_States = tuple[list[Tensor], object, tuple[object, ...]]


def _accelerators(model: nn.Module) -> list[torch.device]:
    devices = {parameter.device for parameter in model.parameters()}
    return [device for device in devices if device.type in {"cuda", "xpu"}]


def _random_states(devices: list[torch.device]) -> _States:
    generators = [torch.get_device_module(device).get_rng_state(device) for device in devices]
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(numpy_state, dict)
    inner = numpy_state["state"]
    numpy_values = (inner["key"].tobytes(), inner["pos"], numpy_state)
    return [torch.get_rng_state(), *generators], random.getstate(), numpy_values


def _are_same(one: _States, other: _States) -> bool:
    return (
        all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
        and one[1] == other[1]
        and one[2][:2] == other[2][:2]
    )


def _set_random_states(states: _States, devices: list[torch.device]) -> None:
    torch.set_rng_state(states[0][0])
    for device, state in zip(devices, states[0][1:], strict=True):
        torch.get_device_module(device).set_rng_state(state, device)
    random.setstate(states[1])  # pyright: ignore[reportArgumentType]
    np.random.set_state(states[2][2])  # noqa: NPY002 # pyright: ignore[reportArgumentType]
