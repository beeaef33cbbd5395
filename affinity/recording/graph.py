"""The part of an autograd graph that at least two losses reach: what tasks share, as it runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from affinity.errors import InputError


@dataclass(frozen=True, eq=False)
class Entry:
    """Where a loss's own part of the graph goes over into the common one.

    Args:
        loss: The number of the loss.
        node: The last node of its own.
        place: Which of the node's edges.
        into: Which of the representation's.
    """

    loss: int
    node: Node
    place: int
    into: int


@dataclass(frozen=True, eq=False)
class SharedGraph:
    """What several losses have in common.

    Args:
        leaves: Tensors that at least two losses reach, from the losses' side to the inputs'.
        representation: Where the losses' own parts meet the common one, as edges that
            ``torch.autograd.grad`` accepts: gradients there are those of the trunk's output.
        entries: From where the losses reach the representation.
        is_apart: Whether every loss has a part of its own.
    """

    leaves: tuple[Tensor, ...]
    representation: tuple[GradientEdge, ...]
    entries: tuple[Entry, ...]
    is_apart: bool


def shared_graph(losses: Iterable[Tensor]) -> SharedGraph:
    """Walk from every loss towards the leaves; a node met by a second loss is shared.

    Example:
        >>> import torch
        >>> trunk, head = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
        >>> representation = trunk * 2
        >>> graph = shared_graph([representation.sum(), (representation * head).sum()])
        >>> graph.leaves[0] is trunk, len(graph.leaves)
        (True, 1)
        >>> [entry.loss for entry in graph.entries]
        [0, 1]
    """
    roots = [_root(loss) for loss in losses]
    parents: dict[Node, tuple[tuple[Node | None, int], ...]] = {}
    owner: dict[Node, int] = {}
    shared: dict[Node, None] = {}
    for number, root in enumerate(roots):
        stack: list[Node | None] = [root.node]
        while stack:
            node = stack.pop()
            if node is None or node in shared:
                continue
            first = owner.setdefault(node, number)
            if node not in parents:
                parents[node] = node.next_functions  # slow: asked once
            elif first == number:
                continue
            else:
                shared[node] = None
            stack += [parent for parent, _ in parents[node]]
    leaves = {node: leaf for node in shared if (leaf := _leaf(node)) is not None}
    meeting: dict[tuple[Node, int], int] = {}
    for root in roots:
        if root.node in shared and root.node not in leaves:
            meeting.setdefault((root.node, root.output_nr), len(meeting))
    is_apart = not meeting
    entries: list[Entry] = []
    for node, number in owner.items():
        if node in shared:
            continue
        for place, (parent, output) in enumerate(parents[node]):
            if parent in shared and parent not in leaves:
                into = meeting.setdefault((parent, output), len(meeting))
                entries.append(Entry(number, node, place, into))
    return SharedGraph(
        leaves=tuple({id(leaf): leaf for leaf in leaves.values()}.values()),
        representation=tuple(GradientEdge(node, output) for node, output in meeting),
        entries=tuple(entries),
        is_apart=is_apart,
    )


def refuse_reentrant_checkpoints(losses: Iterable[Tensor]) -> None:
    """Reentrant checkpointing hides parameters from ``torch.autograd.grad``: say so.

    Raises:
        InputError: If a loss was made through a reentrant checkpoint.
    """
    for node in nodes(losses):
        if node.name() == "CheckpointFunctionBackward":
            raise InputError(
                "Expected non-reentrant activation checkpointing, but a loss was made through a "
                "reentrant one, which hides its parameters from per-task gradients. Pass "
                "use_reentrant=False to torch.utils.checkpoint (Transformers: "
                'gradient_checkpointing_kwargs={"use_reentrant": False}).'
            )


def nodes(losses: Iterable[Tensor]) -> Iterator[Node]:
    """All nodes of the losses' graphs, once each."""
    seen: set[Node] = set()
    stack = [_root(loss).node for loss in losses]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)


def _root(loss: Tensor) -> GradientEdge:
    from torch.autograd.graph import get_gradient_edge

    return get_gradient_edge(loss)


def _leaf(node: Node) -> Tensor | None:
    return getattr(node, "variable", None)
