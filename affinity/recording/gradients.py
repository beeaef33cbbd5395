"""Gradients of one loss at a time on the shared parameters, and their inner products."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError

Gradient = list[Tensor | None]
"""One entry a shared tensor; None where the loss does not reach it."""

KEEP_COMPILED_GRAPHS = (
    "Before the model is compiled, set torch._functorch.config.donated_buffer = False and the "
    "environment's TORCHINDUCTOR_CACHE_DIR to a new folder (PyTorch's cache does not tell graphs "
    'with and without donated buffers apart); or compile with backend="aot_eager".'
)

CHUNK = 1 << 14


def task_gradient(
    loss: Float[Tensor, ""], shared: Sequence[Tensor] | Sequence[GradientEdge]
) -> Gradient:
    """Gradient of `loss`, in as many parts as `shared`.

    The graph is kept for the user's own backward pass; nothing is accumulated into ``.grad``.

    Raises:
        InputError: If the graph cannot be kept, as those of ``torch.compile`` with its defaults.

    Example:
        >>> trunk = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> task_gradient((3 * trunk).sum(), [trunk])
        [tensor([3., 3.])]
    """
    return gradient_of_sum([loss], shared)


def gradient_of_sum(
    losses: Sequence[Float[Tensor, ""]], shared: Sequence[Tensor] | Sequence[GradientEdge]
) -> Gradient:
    """Gradient of the sum of `losses`, in one backward pass, as `task_gradient` of one.

    Raises:
        InputError: If the graph cannot be kept.
    """
    device = losses[0].device.type
    outside = contextlib.nullcontext()  # of the forward pass's autocast
    if torch.is_autocast_enabled(device):
        outside = torch.autocast(device, enabled=False)
    try:
        with outside:
            parts = torch.autograd.grad(losses, shared, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise InputError(
            "Expected a graph that can be used more than once, but torch.compile made one that "
            f"reuses its buffers. {KEEP_COMPILED_GRAPHS}"
        ) from None
    return list(cast("tuple[Tensor | None, ...]", parts))  # what `allow_unused` makes of it


@dataclass(frozen=True, eq=False)
class GradientRows:
    """Gradients of several tasks, a row each in one buffer.

    A buffer that is filled row by row is read faster than as many tensors, and costs a few large
    pages of memory where those would cost thousands of small ones.

    Args:
        values: The buffer.
        shapes: Of the shared tensors, in order.
        gradients: The tasks' gradients so far, as views of their rows.
    """

    values: Float[Tensor, "row param"]
    shapes: tuple[torch.Size, ...]
    gradients: dict[str, Gradient] = field(default_factory=dict[str, Gradient])

    @classmethod
    def like(cls, tensors: Sequence[Tensor], count: int) -> "GradientRows":
        """Room for `count` gradients with respect to `tensors`, at least in single precision."""
        shapes = tuple(tensor.shape for tensor in tensors)
        dtype = torch.float32
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        size = count, sum(shape.numel() for shape in shapes)
        if tensors[0].device.type == "cpu":  # NumPy asks the system for large pages
            values = torch.from_numpy(np.empty(size, torch.empty((), dtype=dtype).numpy().dtype))
        else:
            values = torch.empty(size, dtype=dtype, device=tensors[0].device)
        return cls(values, shapes)

    def put(self, task: str, gradient: Gradient) -> None:
        """Copy a task's gradient into the next row."""
        row = self.values[len(self.gradients)]
        views: Gradient = []
        for part, shape, piece in zip(gradient, self.shapes, self._pieces(row), strict=True):
            if part is None:
                piece.zero_()
            else:
                piece.copy_(part.reshape(-1))
            views.append(None if part is None else piece.view(shape))
        self.gradients[task] = views

    def block(self, place: int, start: int, stop: int) -> Float[Tensor, "row chunk"]:
        """Numbers `start` to `stop` of one shared tensor."""
        before = sum(shape.numel() for shape in self.shapes[:place])
        return self.values[: len(self.gradients), before + start : before + stop].float()

    def _pieces(self, row: Float[Tensor, " param"]) -> tuple[Tensor, ...]:
        return row.split([shape.numel() for shape in self.shapes])


@dataclass(frozen=True, eq=False)
class LooseGradients:
    """Gradients of several tasks as they came: for small ones, which need no buffer.

    Args:
        gradients: At least one, or there are no shapes.
    """

    gradients: dict[str, Gradient]

    @property
    def shapes(self) -> tuple[torch.Size, ...]:
        """Of the shared tensors; empty ones where no gradient reaches."""
        return tuple(
            next((part.shape for part in parts if part is not None), torch.Size([0]))
            for parts in zip(*self.gradients.values(), strict=True)
        )

    def block(self, place: int, start: int, stop: int) -> Float[Tensor, "row chunk"]:
        """Numbers `start` to `stop` of one shared tensor."""
        parts = [gradient[place] for gradient in self.gradients.values()]
        some = next(part for part in parts if part is not None)
        zeros = some.new_zeros(stop - start)
        rows = [zeros if part is None else part.reshape(-1)[start:stop] for part in parts]
        return torch.stack(rows).float()


def inner_products(
    sources: GradientRows | LooseGradients,
    targets: GradientRows | LooseGradients,
    layers: Sequence[Sequence[int]],
) -> Float[Tensor, "layer source target"]:
    """Inner products of every source's gradient with every target's, a layer at a time.

    Gradients are read once, in blocks that fit a cache.

    Args:
        sources: Gradients of the sources.
        targets: Gradients of the targets; may be the same.
        layers: For each layer, which parts of a gradient belong to it.

    Example:
        >>> rows = GradientRows.like([torch.zeros(2)], 2)
        >>> rows.put("a", [torch.tensor([1.0, 2.0])])
        >>> rows.put("b", [torch.tensor([3.0, -1.0])])
        >>> inner_products(rows, rows, layers=[[0]]).tolist()
        [[[5.0, 1.0], [1.0, 10.0]]]
    """
    some = next(iter(sources.gradients.values()))
    device = next(part.device for part in some if part is not None)
    products = torch.zeros(
        len(layers), len(sources.gradients), len(targets.gradients), device=device
    )
    for layer, places in enumerate(layers):
        for place in places:
            size = sources.shapes[place].numel()
            for start in range(0, size, CHUNK):
                stop = min(start + CHUNK, size)
                rows = sources.block(place, start, stop)
                columns = rows if sources is targets else targets.block(place, start, stop)
                products[layer].addmm_(rows, columns.T)
    return products
