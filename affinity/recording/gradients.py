"""Gradients of one loss at a time on the shared parameters, and their inner products."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError

Gradient = list[Tensor | None]
"""One entry a shared tensor; None where the loss does not reach it."""

CHUNK = 1 << 16


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
    try:
        with torch.autocast(loss.device.type, enabled=False):  # as outside of the forward pass
            parts = cast(
                "Gradient",  # what `allow_unused` makes of it
                torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True),
            )
    except RuntimeError as error:
        if "donated" not in str(error):
            raise
        raise InputError(
            "Expected a graph that can be used more than once, but torch.compile made one that "
            "reuses its buffers. Set torch._functorch.config.donated_buffer = False before the "
            'model is compiled, or record with backend="aot_eager": runs of the inductor backend '
            "are not yet left bit for bit as they are."
        ) from None
    return [None if part is None else part.detach() for part in parts]


def inner_products(
    sources: Sequence[Gradient], targets: Sequence[Gradient], layers: Sequence[Sequence[int]]
) -> Float[Tensor, "layer source target"]:
    """Inner products of every source's gradient with every target's, a layer at a time.

    Gradients are read once, in blocks that fit a cache: nothing of their size is allocated.

    Args:
        sources: Gradients of the sources.
        targets: Gradients of the targets; may be the same list.
        layers: For each layer, which entries of a gradient belong to it.

    Example:
        >>> one, two = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, -1.0])]
        >>> inner_products([one, two], [one, two], layers=[[0]]).tolist()
        [[[5.0, 1.0], [1.0, 10.0]]]
    """
    some = next(part for gradient in (*sources, *targets) for part in gradient if part is not None)
    products = torch.zeros(len(layers), len(sources), len(targets), device=some.device)
    for layer, places in enumerate(layers):
        for place in places:
            of_sources = [gradient[place] for gradient in sources]
            of_targets = [gradient[place] for gradient in targets]
            known = [part for part in (*of_sources, *of_targets) if part is not None]
            for start in range(0, known[0].numel() if known else 0, CHUNK):
                rows = _rows(of_sources, known[0], start)
                columns = rows if sources is targets else _rows(of_targets, known[0], start)
                products[layer].addmm_(rows, columns.T)
    return products


def _rows(
    parts: Sequence[Tensor | None], like: Tensor, start: int
) -> Float[Tensor, "gradient chunk"]:
    zeros = like.reshape(-1)[start : start + CHUNK]
    return torch.stack(
        [
            (
                torch.zeros_like(zeros) if part is None else part.reshape(-1)[start : start + CHUNK]
            ).float()
            for part in parts
        ]
    )
