"""Gradients of one loss at a time, on the shared parameters, as one vector."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor


def task_gradient(
    loss: Float[Tensor, ""], shared: Sequence[Tensor]
) -> Float[Tensor, " param"] | None:
    """Gradient of `loss`, or None where it reaches none of `shared`.

    The graph is kept for the user's own backward pass; nothing is accumulated into ``.grad``.

    Example:
        >>> trunk = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> task_gradient((3 * trunk).sum(), [trunk])
        tensor([3., 3.])
    """
    parts = cast(
        "Sequence[Tensor | None]",  # what `allow_unused` makes of it
        torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True),
    )
    if all(part is None for part in parts):
        return None
    reached = [
        torch.zeros_like(place) if part is None else part
        for part, place in zip(parts, shared, strict=True)
    ]
    return torch.cat([part.detach().reshape(-1).float() for part in reached])
