"""Which parameters the tasks share: named by the user, or found as those two losses reach."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from affinity.errors import InputError

from .graph import shared_graph

Shared = nn.Module | str | re.Pattern[str] | Iterable[str | nn.Parameter] | None
"""A module, names or glob patterns of modules or parameters, parameters, or None to find them."""


def shared_parameters(
    model: nn.Module, shared: Shared, losses: Sequence[Tensor]
) -> dict[str, nn.Parameter]:
    """The shared parameters that are trained, by name.

    Args:
        model: The whole network.
        shared: A submodule; the name of one, or of a parameter; a glob (``"trunk.*.weight"``) or a
            regular expression that is searched in parameter names; several of these; or None:
            then what at least two of `losses` reach.
        losses: Losses with their graph.

    Raises:
        InputError: If nothing matches, or nothing that matches is trained.

    Example:
        >>> model = nn.ModuleDict({"trunk": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
        >>> list(shared_parameters(model, "trunk", []))
        ['trunk.weight', 'trunk.bias']
        >>> list(shared_parameters(model, "trunk.w*", []))
        ['trunk.weight']
    """
    named = named_parameters(model)
    chosen = _found(named, losses) if shared is None else _chosen(named, shared)
    trained = {name: parameter for name, parameter in chosen.items() if parameter.requires_grad}
    if not trained:
        raise InputError(
            f"Expected shared parameters that are trained, but all of {list(chosen)} are frozen "
            f"(requires_grad=False). Name a part that is trained, or record the representation: "
            f'level="representation".'
        )
    return trained


def whole_or_shared(model: nn.Module | None, shared: Shared) -> nn.Module:
    """The model, or, where it was not passed, what it shares as a module of its own.

    Raises:
        InputError: If there is no model to look for the shared part in.
    """
    if model is not None:
        return model
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise InputError(
            "Expected the model in a distributed run: Recorder(model, shared=...) with the "
            "DistributedDataParallel module."
        )
    if isinstance(shared, nn.Module):
        return shared
    if isinstance(shared, Iterable) and not isinstance(shared, str):
        parts = list(shared)
        if parts and all(isinstance(part, nn.Parameter) for part in parts):
            return nn.ParameterList(parts)
    raise InputError(
        "Expected the model to look for the shared part in, but got none: Recorder(model), "
        "Recorder(model, shared='trunk'), or Recorder(shared=model.trunk)."
    )


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name, once each, without the wrappers' prefixes (compile, DDP)."""
    return {_plain(name): parameter for name, parameter in unwrapped(model).named_parameters()}


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own module below ``torch.compile`` and ``DistributedDataParallel``."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def _found(named: Mapping[str, nn.Parameter], losses: Sequence[Tensor]) -> dict[str, nn.Parameter]:
    leaves = {id(leaf) for leaf in shared_graph(losses).leaves}
    found = {name: parameter for name, parameter in named.items() if id(parameter) in leaves}
    if not found:
        raise InputError(
            f"Expected parameters that at least two of the {len(losses)} losses reach, but there "
            "are none. If the tasks share nothing there is nothing to record; if they come in "
            "batches of their own, or the trunk is frozen, name the shared part with shared=..."
        )
    return found


def _chosen(named: Mapping[str, nn.Parameter], shared: Shared) -> dict[str, nn.Parameter]:
    parts = [shared] if isinstance(shared, nn.Module | str | re.Pattern) else list(shared or ())
    if isinstance(shared, nn.Parameter):
        parts = [shared]
    wanted = {id(parameter) for part in parts for parameter in _matches(named, part)}
    return {name: parameter for name, parameter in named.items() if id(parameter) in wanted}


def _matches(
    named: Mapping[str, nn.Parameter], part: nn.Module | str | re.Pattern[str] | nn.Parameter
) -> list[nn.Parameter]:
    if isinstance(part, nn.Parameter):
        matches = [parameter for parameter in named.values() if parameter is part]
        what = f"the parameter of shape {tuple(part.shape)} that was passed"
    elif isinstance(part, nn.Module):
        own = {id(parameter) for parameter in part.parameters()}
        matches = [parameter for parameter in named.values() if id(parameter) in own]
        what = f"the parameters of {type(part).__name__}"
    elif isinstance(part, str):
        matches = [
            parameter
            for name, parameter in named.items()
            if name == part or name.startswith(part + ".") or fnmatchcase(name, part)
        ]
        what = repr(part)
    else:
        matches = [parameter for name, parameter in named.items() if part.search(name)]
        what = f"the pattern {part.pattern!r}"
    if not matches:
        raise InputError(
            f"Expected {what} in the model, but nothing matches. Its parameters are "
            f"{_overview(list(named))}."
        )
    return matches


def _overview(names: list[str], most: int = 40) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _plain(name: str) -> str:
    return name.replace("_orig_mod.", "")
