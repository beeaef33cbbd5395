"""The part of an autograd graph that at least two losses reach: what tasks share, as it runs."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from affinity.errors import InputError


@dataclass(frozen=True, eq=False)
class SharedGraph:
    """What several losses have in common.

    Args:
        leaves: Tensors that at least two losses reach, from the losses' side to the inputs'.
        representation: Where the losses' own parts meet the common one, as edges that
            ``torch.autograd.grad`` accepts: gradients there are those of the trunk's output.
    """

    leaves: tuple[Tensor, ...]
    representation: tuple[GradientEdge, ...]


def shared_graph(losses: Iterable[Tensor]) -> SharedGraph:
    """Walk from every loss towards the leaves; a node met by a second loss is shared.

    Example:
        >>> import torch
        >>> trunk, head = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> representation = trunk * 2
        >>> graph = shared_graph([representation.sum(), (representation * head).sum()])
        >>> graph.leaves[0] is trunk, len(graph.leaves)
        (True, 1)
    """
    roots = [_root(loss) for loss in losses]
    visitor: dict[Node, int] = {}
    shared: dict[Node, None] = {}
    for number, root in enumerate(roots):
        stack = [root.node]
        while stack:
            node = stack.pop()
            if node in shared or visitor.get(node) == number:
                continue
            if node in visitor:
                shared[node] = None
            else:
                visitor[node] = number
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)
    edges = [
        *((root.node, root.output_nr) for root in roots),
        *(edge for node in visitor if node not in shared for edge in node.next_functions),
    ]
    meeting = {(node, number): None for node, number in edges if node in shared}
    leaves = {id(leaf): leaf for node in shared if (leaf := _leaf(node)) is not None}
    return SharedGraph(
        leaves=tuple(leaves.values()),
        representation=tuple(
            GradientEdge(node, number) for node, number in meeting if _leaf(node) is None
        ),
    )


def refuse_reentrant_checkpoints(losses: Iterable[Tensor]) -> None:
    """Reentrant checkpointing hides parameters from ``torch.autograd.grad``: say so.

    Raises:
        InputError: If a loss was made through a reentrant checkpoint.
    """
    seen: set[Node] = set()
    stack = [_root(loss).node for loss in losses]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.name() == "CheckpointFunctionBackward":
            raise InputError(
                "Expected non-reentrant activation checkpointing, but a loss was made through a "
                "reentrant one, which hides its parameters from per-task gradients. Pass "
                "use_reentrant=False to torch.utils.checkpoint (Transformers: "
                'gradient_checkpointing_kwargs={"use_reentrant": False}).'
            )
        stack.extend(parent for parent, _ in node.next_functions if parent is not None)


def _root(loss: Tensor) -> GradientEdge:
    from torch.autograd.graph import get_gradient_edge

    return get_gradient_edge(loss)


def _leaf(node: Node) -> Tensor | None:
    return getattr(node, "variable", None)
