"""Blocks: the parts of a network, from its inputs to its outputs, that recipes speak of."""

from collections.abc import Sequence

from torch import nn

from affinity.errors import InputError
from affinity.sharing import HardSharing

HEADS = "heads"
"""The last block of a `HardSharing` network: its tasks' heads."""


def blocks_of(model: nn.Module, blocks: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The names of the parameters of each block; the last block is the head.

    Unless blocks are named, they are the parts of the model that have parameters, in the order in
    which the model registers them; a part that is an `nn.Sequential` is taken apart once. Of a
    `HardSharing` network they are the parts of the trunk, then the heads.

    Args:
        model: Any module.
        blocks: Names of modules, or beginnings of names, from inputs to outputs.

    Raises:
        InputError: If a name is none of a parameter's beginning, a parameter belongs to no block
            or to two, or there are fewer than two blocks.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> blocks_of(model)
        {'0': ('0.weight', '0.bias'), '2': ('2.weight', '2.bias')}
    """
    names = [name for name, _ in model.named_parameters()]
    wanted = _found(model) if blocks is None else list(blocks)
    own = {
        block: tuple(name for name in names if name == block or name.startswith(f"{block}."))
        for block in wanted
    }
    places = [name for found in own.values() for name in found]
    empty = [block for block, found in own.items() if not found]
    left = [name for name in names if places.count(name) != 1]
    if empty or left or len(own) < 2:
        raise InputError(
            "Expected at least two blocks that hold each parameter once, but "
            + (
                f"{empty} hold none"
                if empty
                else f"{left} belong to none or to two"
                if left
                else f"got {list(own)}"
            )
            + f". The model's parts are {[name for name, _ in model.named_modules() if name]}; "
            "name blocks of them, from inputs to outputs."
        )
    return own


def _found(model: nn.Module) -> list[str]:
    if isinstance(model, HardSharing):
        return [*_parts(model.trunk, "trunk"), HEADS]
    if isinstance(model, nn.Sequential):
        return _parts(model, "")
    return [part for name, child in model.named_children() for part in _parts(child, name)]


def _parts(module: nn.Module, name: str) -> list[str]:
    """The module, or its parts if it is sequential; those with parameters."""
    children = dict(module.named_children()) if isinstance(module, nn.Sequential) else {}
    parts = {f"{name}.{each}".lstrip("."): child for each, child in children.items()}
    return [
        part
        for part, child in (parts or {name: module}).items()
        if any(True for _ in child.parameters())
    ]
