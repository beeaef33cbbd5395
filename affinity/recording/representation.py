"""Gradients at the representation: those of all tasks in one pass through the losses' own parts."""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from .gradients import Gradient, gradient_of_sum, task_gradient
from .graph import Entry, SharedGraph


def representation_gradients(
    losses: Sequence[Float[Tensor, ""]], graph: SharedGraph
) -> list[Gradient]:
    """The gradient of each loss at the representation.

    The backward pass of their sum hands the representation a part from each loss, and adds them
    up; here each part is taken on its way.

    Args:
        losses: The losses.
        graph: What they have in common.

    Example:
        >>> import torch
        >>> from affinity.recording.graph import shared_graph
        >>> representation = 2 * torch.ones(2, requires_grad=True)
        >>> losses = [representation.sum(), (3 * representation).sum()]
        >>> representation_gradients(losses, shared_graph(losses))
        [[tensor([1., 1.])], [tensor([3., 3.])]]
    """
    places = graph.representation
    if not graph.is_apart:  # a loss is itself a part of what others are made from
        return [task_gradient(loss, places) for loss in losses]
    gradients: list[Gradient] = [[None] * len(places) for _ in losses]

    def keep(entry: Entry) -> Callable[..., None]:
        def hook(parts: Sequence[Tensor | None], _: object) -> None:
            part, before = parts[entry.place], gradients[entry.loss][entry.into]
            if part is not None:
                gradients[entry.loss][entry.into] = part if before is None else before + part

        return hook

    hooks = [entry.node.register_hook(keep(entry)) for entry in graph.entries]
    try:
        gradient_of_sum(losses, places)
    finally:
        for hook in hooks:
            hook.remove()
    return gradients
