"""Gradients of one loss at a time on the shared parameters, and their inner products."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

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


def task_gradient(loss: Float[Tensor, ""], places: Sequence[Tensor | GradientEdge]) -> Gradient:
    """Gradient of `loss`, in as many parts as `places`.

    The graph is kept for the user's own backward pass; nothing is accumulated into ``.grad``.

    Raises:
        InputError: If the graph cannot be kept, as those of ``torch.compile`` with its defaults.

    Example:
        >>> trunk = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> task_gradient((3 * trunk).sum(), [trunk])
        [tensor([3., 3.])]
    """
    return gradient_of_sum([loss], places)


def gradient_of_sum(
    losses: Sequence[Float[Tensor, ""]], places: Sequence[Tensor | GradientEdge]
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
            parts = torch.autograd.grad(
                losses, cast("list[Tensor]", places), retain_graph=True, allow_unused=True
            )
    except RuntimeError as error:
        if "second time" in str(error):
            raise InputError(
                "Expected losses whose graph is still there, but a backward pass has freed it: "
                "call recorder.observe(losses) before backward()."
            ) from None
        if "donated" not in str(error):
            raise
        raise InputError(
            "Expected a graph that can be used more than once, but torch.compile made one that "
            f"reuses its buffers. {KEEP_COMPILED_GRAPHS}"
        ) from None
    return list(cast("tuple[Tensor | None, ...]", parts))  # what `allow_unused` makes of it


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of several tasks, as they came.

    Args:
        of_tasks: By task, each in as many parts as there are shared tensors.
    """

    of_tasks: dict[str, Gradient]

    def sizes(self) -> list[int]:
        """Of the shared tensors, in order; 0 where no gradient reaches."""
        return [
            max((part.numel() for part in parts if part is not None), default=0)
            for parts in zip(*self.of_tasks.values(), strict=True)
        ]

    def block(self, place: int, start: int, stop: int) -> Float[Tensor, "task chunk"]:
        """Numbers `start` to `stop` of one shared tensor."""
        parts = [gradient[place] for gradient in self.of_tasks.values()]
        some = next(part for part in parts if part is not None)
        zeros = some.new_zeros(()).expand(stop - start)
        rows = [zeros if part is None else part.reshape(-1)[start:stop] for part in parts]
        return torch.stack(rows).float()


def inner_products(
    sources: Gradients, targets: Gradients, layers: Sequence[Sequence[int]]
) -> Float[Tensor, "layer source target"]:
    """Inner products of every source's gradient with every target's, a layer at a time.

    Gradients are read once, in blocks.

    Args:
        sources: Gradients of the sources.
        targets: Gradients of the targets; may be the same.
        layers: For each layer, which parts of a gradient belong to it.

    Example:
        >>> rows = Gradients({"a": [torch.tensor([1.0, 2.0])], "b": [torch.tensor([3.0, -1.0])]})
        >>> inner_products(rows, rows, layers=[[0]]).tolist()
        [[[5.0, 1.0], [1.0, 10.0]]]
    """
    some = next(iter(sources.of_tasks.values()))
    device = next(part.device for part in some if part is not None)
    size = len(layers), len(sources.of_tasks), len(targets.of_tasks)
    products = torch.zeros(size, device=device)
    sizes = [min(pair) for pair in zip(sources.sizes(), targets.sizes(), strict=True)]
    for layer, places in enumerate(layers):
        for place in places:
            for start in range(0, sizes[place], CHUNK):
                stop = min(start + CHUNK, sizes[place])
                rows = sources.block(place, start, stop)
                columns = rows if sources is targets else targets.block(place, start, stop)
                products[layer].addmm_(rows, columns.T)
    return products
