"""Gradients of single losses with respect to the shared parameters, and their inner products."""

import contextlib
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError

Gradient = list[Tensor | None]  # by shared tensor; None where the loss does not reach it

KEEP_COMPILED_GRAPHS = (
    "Before the model is compiled, set torch._functorch.config.donated_buffer = False and the "
    "environment variable TORCHINDUCTOR_CACHE_DIR to a new folder (PyTorch's cache does not "
    "distinguish graphs with and without donated buffers); or compile with "
    'backend="aot_eager".'
)

FIRST_SCALE = 2.0**16  # by which losses in float16 are multiplied, unless that is too much
CHUNK = 1 << 22  # elements of each gradient that are compared at a time
SMALLEST, LARGEST = 1e-30, 1e37  # between which inner products are exact in single precision


def task_gradient(
    losses: Sequence[Float[Tensor, ""]],
    inputs: Sequence[Tensor | GradientEdge],
    scale: float | None = None,
) -> Gradient:
    """Gradient of the sum of `losses` (usually one), times `scale`, with respect to `inputs`.

    The graph is kept for the user's own backward pass; nothing is accumulated into ``.grad``.
    """
    with reusable_graph(losses[0].device.type):
        parts = torch.autograd.grad(
            losses,
            cast("list[Tensor]", inputs),
            None if scale is None else [torch.full_like(loss, scale) for loss in losses],
            retain_graph=True,
            allow_unused=True,
        )
    return list(cast("tuple[Tensor | None, ...]", parts))  # None because of `allow_unused`


def scaled_gradient(
    losses: Sequence[Float[Tensor, ""]], inputs: Sequence[Tensor | GradientEdge]
) -> Gradient:
    """The same through numbers in float16, of which those below 6e-8 are 0.

    Like `torch.amp.GradScaler`: the gradient of the losses times a scale, divided by the scale, the
    largest with which nothing overflows.
    """
    scale = FIRST_SCALE
    gradient = task_gradient(losses, inputs, scale)
    while scale > 1 and not math.isfinite(Gradients({"": gradient}).largest()):
        scale /= 16
        gradient = task_gradient(losses, inputs, scale)
    return [None if part is None else part.float() / scale for part in gradient]


@contextlib.contextmanager
def reusable_graph(device: str) -> Generator[None]:
    """A backward pass that keeps the graph, without autocast; an error if it cannot be kept."""
    try:
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                yield
        else:
            yield
    except RuntimeError as error:
        if "second time" in str(error):
            raise InputError(
                "Expected losses whose graph still exists, but a backward pass has freed it: "
                "call recorder.observe(losses) before backward().",
                "freed-graph",
            ) from None
        if "modified by an inplace operation" in str(error):
            raise InputError(
                "Expected losses whose graph is as it was computed, but a tensor of it was changed "
                "in place: call recorder.observe(losses) before the optimizer's step and before "
                f"other changes in place. PyTorch says: {error}",
                "changed-graph",
            ) from None
        if "donated" not in str(error):
            raise
        raise InputError(
            "Expected a graph that can be used more than once, but torch.compile made one that "
            f"reuses its buffers. {KEEP_COMPILED_GRAPHS}",
            "donated-buffers",
        ) from None


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of several tasks, each a list with one entry per shared tensor."""

    by_task: dict[str, Gradient]

    def sizes(self) -> list[int]:
        """Number of real elements of each shared tensor; 0 where no gradient reaches it."""
        return [
            max((_size(part) for part in parts if part is not None), default=0)
            for parts in zip(*self.by_task.values(), strict=True)
        ]

    def stacked(
        self, place: int, rows: Tensor | None, start: int, stop: int, dtype: torch.dtype
    ) -> Float[Tensor, "task chunk"]:
        """Elements `start` to `stop` of one shared tensor, or of these rows of it."""
        parts = [gradient[place] for gradient in self.by_task.values()]
        dense = [None if part is None else as_real(_rows(part, rows)) for part in parts]
        example = next(part for part in dense if part is not None)
        zeros = example.new_zeros(()).expand(stop - start)
        flat = [zeros if part is None else part.reshape(-1)[start:stop] for part in dense]
        return torch.stack(flat).to(dtype)

    def largest(self) -> float:
        """The largest absolute value of any element."""
        parts = (part for gradient in self.by_task.values() for part in gradient)
        values = [p.coalesce().values() if p.is_sparse else p for p in parts if p is not None]
        sizes = [torch.linalg.vector_norm(value, torch.inf) for value in values if value.numel()]
        return torch.stack(sizes).max().item() if sizes else 0.0

    def rows(self, place: int) -> Int[Tensor, " row"] | None:
        """The rows at which the sparse gradients of an embedding are not 0; None if one is dense.

        Both kinds occur together, where an embedding is used twice.
        """
        parts = [gradient[place] for gradient in self.by_task.values()]
        indices: list[Tensor] = []
        for part in parts:
            if part is not None and not part.is_sparse:
                return None
            if part is not None:
                indices.append(part.coalesce().indices()[0])
        return torch.cat(indices).unique() if indices else None


def _size(part: Tensor) -> int:
    return (2 if part.is_complex() else 1) * part.numel()


def _rows(part: Tensor, rows: Tensor | None) -> Tensor:
    """A gradient without zeros left out, or these rows of it."""
    if part.is_sparse:
        return part.to_dense() if rows is None else part.index_select(0, rows).to_dense()
    return part if rows is None else part[rows]


def inner_products(
    sources: Gradients,
    targets: Gradients,
    layers: Sequence[Sequence[int]],
    dtype: torch.dtype,
) -> Float[Tensor, "layer source target"]:
    """Inner products of each source's gradient with each target's, per layer.

    Gradients are read once, in blocks; of sparse ones, only the rows that are not 0. They are read
    again in double precision if products are too large or too small for `dtype`.
    """
    products = _inner_products(sources, targets, layers, dtype)
    if are_in_range(products):
        return products
    is_too_large = bool((products.abs() > LARGEST).any()) or not products.isfinite().all()
    if is_too_large or 0 < sources.largest() * targets.largest() < SMALLEST:
        return _inner_products(sources, targets, layers, torch.float64)
    return products


def as_real(tensor: Tensor) -> Tensor:
    """A complex tensor as one with real and imaginary parts, so that inner products are real."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def are_in_range(products: Tensor) -> bool:
    """Whether no product is too large, or too small, for the widest type that the device has."""
    if products.dtype == torch.float64 or products.device.type == "mps":
        return True
    sizes = products.abs()
    return bool(((sizes <= LARGEST) & (sizes >= SMALLEST)).all())


def _inner_products(
    sources: Gradients, targets: Gradients, layers: Sequence[Sequence[int]], dtype: torch.dtype
) -> Float[Tensor, "layer source target"]:
    example = next(iter(sources.by_task.values()))
    device = next(part.device for part in example if part is not None)
    size = len(layers), len(sources.by_task), len(targets.by_task)
    products = torch.zeros(size, device=device, dtype=dtype)
    sizes = [min(pair) for pair in zip(sources.sizes(), targets.sizes(), strict=True)]
    for layer, places in enumerate(layers):
        for place in places:
            size = sizes[place]
            rows = sources.rows(place) if size else None
            if size and rows is None:
                rows = targets.rows(place)
            if rows is not None:
                size = len(rows) * (size // max(_length(sources, place), 1))
            for start in range(0, size, CHUNK):
                stop = min(start + CHUNK, size)
                left = sources.stacked(place, rows, start, stop, dtype)
                right = left
                if sources is not targets:
                    right = targets.stacked(place, rows, start, stop, dtype)
                products[layer].addmm_(left, right.T)
    return products


def _length(gradients: Gradients, place: int) -> int:
    """The number of rows of one shared tensor."""
    parts = (gradient[place] for gradient in gradients.by_task.values())
    return next(len(part) for part in parts if part is not None)
