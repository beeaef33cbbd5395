"""Shared parameters: selected by the user or found in the graph, and grouped into layers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node, get_gradient_edge

from affinity.errors import InputError
from affinity.words import shorten

from .graph import leaf_of

Shared = nn.Module | str | re.Pattern[str] | Iterable[str | nn.Parameter] | None
"""A module, names or glob patterns of modules or parameters, parameters, or None to find them."""

Layers = dict[str, list[int]]  # the indices of the shared parameters that belong to each layer


def selected_parameters(model: nn.Module, shared: Shared) -> dict[str, nn.Parameter]:
    """The parameters that `shared` names, trained or frozen, by name; all without it.

    `shared` is a submodule; the name of a submodule or of a parameter; a glob
    (``"trunk.*.weight"``) or a regular expression that is searched in parameter names; several of
    these; or None. A tied parameter has the first of its names, and each of them selects it. An
    error if nothing matches.
    """
    named = {
        name.replace("_orig_mod.", ""): parameter
        for name, parameter in unwrapped(model).named_parameters(remove_duplicate=False)
    }
    selected = {id(parameter) for parameter in named.values()}
    if shared is not None:
        is_one = isinstance(shared, nn.Module | nn.Parameter | str | re.Pattern)
        parts = [shared] if is_one else list(shared)
        selected = {id(named[name]) for part in parts for name in _matches(named, part)}
    first = {id(parameter): name for name, parameter in reversed(named.items())}
    return {first[id(p)]: p for p in named.values() if id(p) in selected}


def module_to_watch(model: nn.Module | None, shared: Shared) -> nn.Module:
    """The model, or the shared part as a module where no model was passed."""
    if model is not None:
        return model
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise InputError(
            "Expected the model in a distributed run: Recorder(model, shared=...) with the "
            "DistributedDataParallel module.",
            "missing-model",
        )
    if isinstance(shared, nn.Module):
        return shared
    if isinstance(shared, Iterable) and not isinstance(shared, str):
        parts = list(shared)
        if parts and all(isinstance(part, nn.Parameter) for part in parts):
            return nn.ParameterList(parts)
    raise InputError(
        "Expected a model in which to find the shared part, but got none: Recorder(model), "
        "Recorder(model, shared='trunk'), or Recorder(shared=model.trunk).",
        "missing-model",
    )


def refuse_lazy(model: nn.Module) -> None:
    """Raise an error for parameters that only the first forward pass makes."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(
                f"Expected parameters that exist, but {name} is made by the first forward pass: "
                "evaluate the model once on a batch before the run.",
                "lazy-parameters",
            )


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module below ``torch.compile`` and ``DistributedDataParallel``."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def layers_of(names: Sequence[str], layers: int | Sequence[str] | None) -> Layers:
    """Group the places of parameters into layers.

    `layers` is the number of leading parts of a module's name that identify a layer; or names of
    modules, with all other parameters in the layer ``"other"``; or None for one layer.
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
            f"modules are {sorted({_module(name) for name in names})}.",
            "unknown-layer",
        )
    return grouped


def last_layer(
    shared: Mapping[str, nn.Parameter], losses: Sequence[Tensor]
) -> dict[str, nn.Parameter]:
    """The shared parameters of the module that is nearest to the losses; may be none."""
    by_id = {id(parameter): name for name, parameter in shared.items()}
    level: list[Node] = [get_gradient_edge(loss).node for loss in losses]
    seen = set(level)
    while level:
        for node in level:
            name = by_id.get(id(leaf_of(node)))
            if name is not None:
                module = _module(name)
                return {key: value for key, value in shared.items() if _module(key) == module}
        parents = {p for node in level for p, _ in node.next_functions if p is not None}
        level = list(parents - seen)
        seen |= parents
    return {}


def _matches(
    named: Mapping[str, nn.Parameter], part: nn.Module | str | re.Pattern[str] | nn.Parameter
) -> list[str]:
    if isinstance(part, nn.Parameter):
        wanted = {id(part)}
        matches = [name for name, parameter in named.items() if id(parameter) in wanted]
        what = f"the parameter of shape {tuple(part.shape)} that was passed"
    elif isinstance(part, nn.Module):
        wanted = {id(parameter) for parameter in part.parameters()}
        matches = [name for name, parameter in named.items() if id(parameter) in wanted]
        what = f"the parameters of {type(part).__name__}"
    elif isinstance(part, str):
        matches = [
            name
            for name in named
            if name == part or name.startswith(part + ".") or fnmatchcase(name, part)
        ]
        what = repr(part)
    else:
        matches = [name for name in named if part.search(name)]
        what = f"the pattern {part.pattern!r}"
    if not matches:
        raise InputError(
            f"Expected {what} in the model, but nothing matches. Its parameters are "
            f"{shorten(named, 40)}.",
            "unknown-shared-part",
        )
    return matches


def _module(parameter: str) -> str:
    return parameter.rpartition(".")[0]
