"""Look at a run without touching it: random states and buffers are put back."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from .random_states import RandomStates, accelerators


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
    states = RandomStates(accelerators(model))

    def put_back() -> bool:
        for module, name, buffer, copy in held:
            buffer.data.copy_(copy)
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)
        return states.put_back()

    with ExitStack() as afterwards:

        def hold(module: nn.Module, *_: object) -> None:
            for part in module.modules():
                if id(part) in known:
                    continue
                known.add(id(part))
                for name, buffer in part._buffers.items():  # pyright: ignore[reportPrivateUsage]
                    if buffer is None:
                        continue
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
