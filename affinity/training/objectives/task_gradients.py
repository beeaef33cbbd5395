"""Each task's gradient on the parameters that losses depend on."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def leaves_of(loss: Tensor) -> list[Tensor]:
    """The parameters that `loss` depends on, in the order in which the graph uses them."""
    seen: set[object] = set()
    leaves: list[Tensor] = []
    pending = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)  # pyright: ignore[reportAttributeAccessIssue]
        pending += [following for following, _ in node.next_functions]
    return leaves


def task_gradients(losses: Sequence[Tensor]) -> tuple[list[Tensor], list[list[Tensor | None]]]:
    """All parameters that the losses depend on, and each loss's gradient on each of them.

    None where a loss does not reach a parameter. The graph is kept.
    """
    parameters = leaves_of(torch.stack(list(losses)).sum())
    return parameters, [
        list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))
        for loss in losses
    ]


def shared_gradients(losses: Sequence[Tensor]) -> Float[Tensor, "task param"]:
    """Each loss's gradient on the parameters that at least two of them reach."""
    parameters, gradients = task_gradients(losses)
    is_shared = shared(gradients)
    return torch.stack(
        [
            torch.cat(
                [
                    (torch.zeros_like(parameter) if gradient is None else gradient).flatten()
                    for parameter, gradient, here in zip(parameters, own, is_shared, strict=True)
                    if here or len(gradients) == 1
                ]
                or [losses[0].new_zeros(1)]
            )
            for own in gradients
        ]
    )


def shared(gradients: list[list[Tensor | None]]) -> list[bool]:
    """Which parameters at least two losses reach."""
    return [
        sum(gradient is not None for gradient in column) > 1
        for column in zip(*gradients, strict=True)
    ]
