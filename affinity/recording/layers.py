"""Layers of the shared parameters: by depth of their names, or named; and the last one."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.autograd.graph import Node

from affinity.errors import InputError

from .graph import shared_graph

Layers = dict[str, list[int]]
"""Which of the shared parameters, by position, belong to each layer."""


def layers_of(names: Sequence[str], layers: int | Sequence[str] | None) -> Layers:
    """Group parameters into layers.

    Args:
        names: Names of the parameters.
        layers: How many parts of a module's name tell layers apart; or names of modules, the rest
            of the parameters then belongs to the layer ``"other"``; or None for a single layer.

    Example:
        >>> names = ["trunk.0.weight", "trunk.0.bias", "trunk.2.weight"]
        >>> layers_of(names, 2)
        {'trunk.0': [0, 1], 'trunk.2': [2]}
        >>> layers_of(names, ["trunk.2"])
        {'trunk.2': [2], 'other': [0, 1]}
    """
    if layers is None:
        return {"all": list(range(len(names)))}
    grouped: Layers = {} if isinstance(layers, int) else {name: [] for name in layers}
    for place, name in enumerate(names):
        if isinstance(layers, int):
            layer = ".".join(_module(name).split(".")[:layers]) or name
        else:
            within = [layer for layer in layers if name == layer or name.startswith(layer + ".")]
            layer = max(within, key=len, default="other")
        grouped.setdefault(layer, []).append(place)
    if empty := [layer for layer, places in grouped.items() if not places]:
        raise InputError(
            f"Expected shared parameters in the layers {empty}, but there are none; the shared "
            f"modules are {sorted({_module(name) for name in names})}."
        )
    return grouped


def last_layer(
    shared: Mapping[str, nn.Parameter], losses: Sequence[Tensor]
) -> dict[str, nn.Parameter]:
    """The shared parameters of the module that is nearest to the losses.

    Example:
        >>> import torch
        >>> trunk = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
        >>> outputs = trunk(torch.ones(1, 2))
        >>> list(last_layer(dict(trunk.named_parameters()), [outputs.sum(), outputs.mean()]))
        ['2.weight', '2.bias']
    """
    by_id = {id(parameter): name for name, parameter in shared.items()}
    level: list[Node] = [edge.node for edge in shared_graph(losses).representation]
    seen = set(level)
    while level:
        for node in level:
            name = by_id.get(id(getattr(node, "variable", None)))
            if name is not None:
                module = _module(name)
                return {key: value for key, value in shared.items() if _module(key) == module}
        parents = {p for node in level for p, _ in node.next_functions if p is not None}
        level = list(parents - seen)
        seen |= parents
    raise InputError(
        f"Expected at least two losses to reach one of the shared parameters {list(shared)}, but "
        "none does: name the layer itself with shared=..."
    )


def _module(parameter: str) -> str:
    return parameter.rpartition(".")[0]
