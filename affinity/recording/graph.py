"""Shared graph: the part of an autograd graph that at least two losses reach."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from affinity.errors import InputError

from .gradients import KEEP_COMPILED_GRAPHS, Gradient, task_gradient


@dataclass(frozen=True, eq=False)
class SharedEdge:
    """An edge from the part of the graph that belongs to one loss alone into the shared part."""

    loss: int
    node: Node  # the last node that belongs to this loss alone
    edge: int  # index among the node's edges
    part: int  # index of the representation's tensor that the edge leads to


@dataclass(frozen=True, eq=False)
class SharedGraph:
    """The part of the graph that several losses share."""

    # reached by at least two losses, ordered from the losses to the inputs
    leaves: tuple[Tensor, ...]
    representation: tuple[GradientEdge, ...]  # the trunk's output, as edges for torch.autograd.grad
    entries: tuple[SharedEdge, ...]
    has_heads: bool  # every loss has a part of the graph of its own


def shared_graph(losses: Iterable[Tensor]) -> SharedGraph:
    """Walk from every loss towards the leaves; a node that a second loss reaches is shared."""
    roots = [get_gradient_edge(loss) for loss in losses]
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
                parents[node] = node.next_functions  # slow, so it is read once
            elif first == number:
                continue
            else:
                shared[node] = None
            stack += [parent for parent, _ in parents[node]]
    leaves = {node: leaf for node in shared if (leaf := leaf_of(node)) is not None}
    meeting: dict[tuple[Node, int], int] = {}
    for root in roots:
        if root.node in shared and root.node not in leaves:
            meeting.setdefault((root.node, root.output_nr), len(meeting))
    has_heads = not meeting
    entries: list[SharedEdge] = []
    for node, number in owner.items():
        if node in shared:
            continue
        for edge, (parent, output) in enumerate(parents[node]):
            if parent in shared and parent not in leaves:
                part = meeting.setdefault((parent, output), len(meeting))
                entries.append(SharedEdge(number, node, edge, part))
    return SharedGraph(
        leaves=tuple({id(leaf): leaf for leaf in leaves.values()}.values()),
        representation=tuple(GradientEdge(node, output) for node, output in meeting),
        entries=tuple(entries),
        has_heads=has_heads,
    )


def representation_gradients(
    losses: Sequence[Float[Tensor, ""]], graph: SharedGraph
) -> list[Gradient]:
    """The gradient of each loss with respect to the representation, in one backward pass.

    The backward pass of the losses' sum passes one part per loss to the representation, where
    they are added; hooks take each part before it is added.
    """
    if not graph.has_heads:  # other losses are computed from one of the losses
        return [task_gradient([loss], graph.representation) for loss in losses]
    gradients: list[Gradient] = [[None] * len(graph.representation) for _ in losses]

    def collect(entry: SharedEdge) -> Callable[..., None]:
        def hook(parts: Sequence[Tensor | None], _: object) -> None:
            part, before = parts[entry.edge], gradients[entry.loss][entry.part]
            if part is not None:
                gradients[entry.loss][entry.part] = part if before is None else before + part

        return hook

    hooks = [entry.node.register_hook(collect(entry)) for entry in graph.entries]
    try:
        task_gradient(losses, graph.representation)
    finally:
        for hook in hooks:
            hook.remove()
    return gradients


def overlapping_gradients(
    losses: Sequence[Float[Tensor, ""]], graph: SharedGraph
) -> list[Gradient]:
    """The gradient of each loss where the losses' own parts meet: one entry per tensor.

    Where losses are stacked, concatenated or columns of one prediction, they meet in the graph at
    a tensor of which each element belongs to one loss. Such tensors are followed towards the
    inputs, up to the tensors with an element at which two losses have a gradient.
    """
    edges = graph.representation
    gradients = representation_gradients(losses, graph) if edges else []
    columns: list[Gradient] = []  # one per tensor, with one entry per loss
    seen = set(edges)
    while edges:
        below: list[GradientEdge] = []
        for edge, parts in zip(edges, zip(*gradients, strict=True), strict=True):
            if _overlap(parts):
                columns.append(list(parts))
            elif any(part is not None for part in parts):
                parents = [GradientEdge(n, o) for n, o in edge.node.next_functions if n is not None]
                below += [edge for edge in parents if leaf_of(edge.node) is None]
        edges = tuple(edge for edge in dict.fromkeys(below) if edge not in seen)
        seen.update(edges)
        gradients = [task_gradient([loss], edges) for loss in losses] if edges else []
    return (
        [[column[number] for column in columns] for number in range(len(losses))] if columns else []
    )


def _overlap(parts: Sequence[Tensor | None]) -> bool:
    """Whether two gradients differ from 0 at the same element."""
    reached = [part != 0 for part in parts if part is not None]
    return len(reached) > 1 and bool((torch.stack(reached).sum(0) > 1).any())


def refuse_reentrant_checkpoints(losses: Iterable[Tensor]) -> None:
    """Raise an error for reentrant checkpoints: they hide parameters from per-task gradients."""
    if any(node.name() == "CheckpointFunctionBackward" for node in graph_nodes(losses)):
        raise InputError(
            "Expected non-reentrant activation checkpointing, but a loss was computed through a "
            "reentrant one, which hides its parameters from per-task gradients. Pass "
            "use_reentrant=False to torch.utils.checkpoint (Transformers: "
            'gradient_checkpointing_kwargs={"use_reentrant": False}).',
            "reentrant-checkpoint",
        )


def refuse_overwritten_graphs(losses: Sequence[Tensor], shared: Sequence[Tensor]) -> None:
    """Raise an error for graphs that overwrite or free what they saved.

    With donated buffers off, PyTorch may still load code from its cache that was compiled with
    them on (the cache's key does not contain the setting). Such code silently overwrites tensors
    saved for backward, and the run's own backward pass would be wrong, too. The same holds for
    functions of the user's own that save memory. So the gradient of a graph with one of these is
    taken twice and compared.
    """
    functions = {name for node in graph_nodes(losses) if (name := _function_of(node))}
    if not functions:
        return
    is_compiled = any(name.startswith("CompiledFunction") for name in functions)
    what = (
        f"torch.compile took one from its cache that overwrites its saved tensors. "
        f"{KEEP_COMPILED_GRAPHS}"
        if is_compiled
        else f"the backward pass of {' or '.join(sorted(functions))} changes or frees what it "
        "saved. Save tensors with ctx.save_for_backward, and leave them as they are in backward."
    )
    message = f"Expected a graph that can be used more than once, but {what}"
    for loss in losses:
        first = task_gradient([loss], shared)
        try:
            second = task_gradient([loss], shared)
        except InputError:
            raise
        except Exception as error:
            raise InputError(message, "overwritten-graph") from error
        for one, other in zip(first, second, strict=True):
            if one is not None and (other is None or (one - other).norm() > 1e-3 * one.norm()):
                raise InputError(message, "overwritten-graph")


def _function_of(node: Node) -> str | None:
    """The name of the function in Python whose node it is: compiled, or not one of PyTorch's."""
    function = getattr(type(node), "_forward_cls", None)
    if function is None:
        return None
    name = str(function.__name__)
    is_own = function.__module__.partition(".")[0] != "torch"
    return name if is_own or name.startswith("CompiledFunction") else None


TERMS = ("Add", "Sub", "Mul", "Div", "Neg", "Sum", "Mean", "Stack", "Cat", "Unsqueeze")
"""Operations that make weighted sums."""


def terms_of(losses: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The losses that are weighted sums of others, with these."""
    tasks = {get_gradient_edge(loss).node: task for task, loss in losses.items()}
    found: dict[str, list[str]] = {}
    for root, task in tasks.items():
        stack, seen = [root], {root}
        while stack:
            node = stack.pop()
            if node is not root and node in tasks:
                found.setdefault(task, []).append(tasks[node])
            elif node.name().startswith(TERMS):
                parents = {each for each, _ in node.next_functions if each is not None} - seen
                seen |= parents
                stack += parents
    return found


def graph_nodes(losses: Iterable[Tensor]) -> list[Node]:
    """All nodes of the losses' graphs, once each."""
    stack = [get_gradient_edge(loss).node for loss in losses]
    nodes: dict[Node, None] = {}
    while stack:
        node = stack.pop()
        if node not in nodes:
            nodes[node] = None
            stack.extend(parent for parent, _ in node.next_functions if parent is not None)
    return list(nodes)


def leaf_of(node: Node | None) -> Tensor | None:
    """The tensor that a node accumulates gradients for, if it is a leaf of the graph."""
    return getattr(node, "variable", None)
