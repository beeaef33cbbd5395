"""A stand-in for a GPU: its tensors refuse to be mixed with those of the CPU, as CUDA's do.

The tensors say that they are on the meta device, and hold their values on the CPU. Inside
`fake_gpu()` every operation is checked, so that a machine without a GPU finds a tensor that was
made on, or left on, the wrong device.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("meta")

aten = torch.ops.aten
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
_INDEXING.add(aten._index_put_impl_.default)


class GpuTensor(torch.Tensor):
    """A tensor on the stand-in."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "GpuTensor":
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=GPU,
        )
        tensor.values = values
        return tensor

    def tolist(self) -> Any:
        return self.values.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("A tensor on a GPU cannot be converted to an array; use Tensor.cpu().")

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class _OnGpu(TorchDispatchMode):
    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


@contextmanager
def fake_gpu() -> Generator[None]:
    """Inside the block, `GPU` is a device that holds values."""
    with _OnGpu():
        yield


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    on_gpu = any(isinstance(tensor, GpuTensor) for tensor in tensors)
    wanted = kwargs.get("device")
    to_gpu = wanted is not None and torch.device(wanted).type == GPU.type
    if not on_gpu and not to_gpu:
        return function(*args, **kwargs)
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    unwrapped_args, unwrapped = tree_map(_values, (args, kwargs))
    if function is aten._to_copy.default:
        copied = function(*unwrapped_args, **unwrapped)
        return GpuTensor(copied) if to_gpu or wanted is None else copied
    if function is aten.copy_.default:
        unwrapped_args[0].copy_(unwrapped_args[1])
        return args[0]
    result = function(*unwrapped_args, **unwrapped)
    if function in (aten._local_scalar_dense.default, aten.equal.default):
        return result
    _check_one_device(function, args, tensors)
    if function._schema.is_mutable and args and isinstance(args[0], GpuTensor):
        if result is unwrapped_args[0]:
            return args[0]
        if result is None:
            return None
    return tree_map(
        lambda leaf: GpuTensor(leaf) if isinstance(leaf, torch.Tensor) else leaf, result
    )


def _check_one_device(function: Any, args: Any, tensors: list[torch.Tensor]) -> None:
    """Scalars may be on the CPU, and so may the indices of a tensor on the GPU."""
    on_cpu = [tensor for tensor in tensors if not isinstance(tensor, GpuTensor) and tensor.dim()]
    if function in _INDEXING and isinstance(args[0], GpuTensor):
        return
    if on_cpu:
        raise RuntimeError(f"Expected all tensors to be on the same device in {function}.")


def _values(leaf: Any) -> Any:
    return leaf.values if isinstance(leaf, GpuTensor) else leaf
