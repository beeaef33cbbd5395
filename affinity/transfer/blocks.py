"""Blocks of a network: the parts, from inputs to outputs, that fine-tuning recipes refer to."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.sharing import HardSharing

HEADS = "heads"  # the last block of a `HardSharing` network: its tasks' heads


def blocks_of(model: nn.Module, blocks: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The parameter names of each block, from inputs to outputs; the last block is the head.

    By default, a block is a child module with weights (a parameter of two or more axes), in the
    order of registration; a child that is an `nn.Sequential` or `nn.ModuleList` is split into its
    own children. Modules without weights, such as normalization layers and activations, belong to
    the block before them. The blocks of a `HardSharing` network are the parts of the trunk, then
    the heads.

    Args:
        blocks: Names of modules, or prefixes of parameter names, from inputs to outputs.
            Normalization layers that none of them contains belong to the block before them.

    Raises:
        InputError: If a block has no parameters, a parameter belongs to no block or to two, or
            there are fewer than two blocks.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 1))
        >>> blocks_of(model)
        {'0': ('0.weight', '0.bias', '1.weight', '1.bias'), '3': ('3.weight', '3.bias')}
    """
    names = [name for name, _ in model.named_parameters()]
    prefixes = block_prefixes(model, blocks)
    parameters_of = {
        block: tuple(name for name in names if is_within(name, parts))
        for block, parts in prefixes.items()
    }
    assigned = [name for block in parameters_of.values() for name in block]
    empty = [block for block, parameters in parameters_of.items() if not parameters]
    ambiguous = [name for name in names if assigned.count(name) != 1]
    if empty or ambiguous or len(parameters_of) < 2:
        problem = f"got only {list(parameters_of)}"
        if ambiguous:
            problem = f"the parameters {ambiguous} belong to no block or to two"
        if empty:
            problem = f"the blocks {empty} have no parameters"
        raise InputError(
            f"Expected at least two blocks that contain each parameter exactly once, but {problem}."
            f" The modules are {[name for name, _ in model.named_modules() if name]}; list the "
            "blocks from inputs to outputs.",
            "invalid-blocks",
        )
    return parameters_of


def block_prefixes(
    model: nn.Module, blocks: Sequence[str] | None = None
) -> dict[str, tuple[str, ...]]:
    """The names of the modules that make up each block, modules without parameters included."""
    modules = dict(model.named_modules())
    if blocks is None:
        parts = _default_parts(model)
        starts = [name for name in parts if _has_weights(modules[name])] or [
            name for name in parts if any(True for _ in modules[name].parameters())
        ]
    else:
        starts = list(blocks)
        parts = [*blocks, *_loose_norms(model, blocks)]
        order = {name: place for place, (name, _) in enumerate(model.named_modules())}
        if all(name in order for name in parts):
            parts.sort(key=order.__getitem__)
    prefixes: dict[str, list[str]] = {name: [] for name in starts}
    block = starts[0] if starts else ""
    for name in parts:
        block = name if name in prefixes else block
        prefixes.setdefault(block, []).append(name)
    return {name: tuple(names) for name, names in prefixes.items()}


def relative_gradient_norms(
    model: nn.Module, losses: Iterable[Tensor], blocks: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    r"""Gradient norm of each block divided by the norm of its parameters, averaged over batches.

    .. math::
        \mathrm{RGN}_k = \lVert \nabla_k L \rVert / \lVert \theta_k \rVert

    Args:
        losses: One loss per batch, with its graph; a generator keeps one graph at a time. Lee et
            al. use five batches.
        blocks: The parameter names of each block, from `blocks_of`.

    References:
        Lee et al. (2023), `Surgical Fine-Tuning Improves Adaptation to Distribution Shifts
        <https://arxiv.org/abs/2210.11466>`_, section 4.1.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> _ = nn.init.constant_(model.weight, 2.0), nn.init.constant_(model.bias, 1.0)
        >>> loss = model(torch.tensor([[3.0]])).sum()
        >>> relative_gradient_norms(model, [loss], {"slope": ["weight"], "offset": ["bias"]})
        {'slope': 1.5, 'offset': 1.0}
    """
    parameters = dict(model.named_parameters())
    sums, n_batches = dict.fromkeys(blocks, 0.0), 0
    for loss in losses:
        n_batches += 1
        values = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
        gradients = dict(zip(parameters, values, strict=True))
        for block, names in blocks.items():
            size = _norm([parameters[name].detach() for name in names])
            if size > 0:
                sums[block] += _norm([gradients[name] for name in names]) / size
    return {block: total / max(1, n_batches) for block, total in sums.items()}


def scales_from_norms(norms: Mapping[str, float], blocks: Sequence[str]) -> dict[str, float]:
    """The norm of each block divided by the largest one; 1 where all are 0."""
    largest = max((norms[block] for block in blocks), default=0.0)
    return {block: norms[block] / largest if largest > 0 else 1.0 for block in blocks}


def _default_parts(model: nn.Module) -> list[str]:
    """The names of a network's parts in the order of registration."""
    if isinstance(model, HardSharing):
        return [*_parts(model.trunk, "trunk"), HEADS]
    parts = _parts(model, "")
    if not isinstance(model, CONTAINERS):
        parts = [part for name, child in model.named_children() for part in _parts(child, name)]
    trained = [name for name in parts if any(True for _ in model.get_submodule(name).parameters())]
    if len(trained) == 1 and trained[0]:  # the model only wraps another one
        return [f"{trained[0]}.{name}" for name in _default_parts(model.get_submodule(trained[0]))]
    return parts


CONTAINERS = (nn.Sequential, nn.ModuleList)


def _parts(module: nn.Module, name: str) -> list[str]:
    """The name of a module, or those of its children if it is a container."""
    if isinstance(module, CONTAINERS) and len(module):
        return [f"{name}.{child}".lstrip(".") for child, _ in module.named_children()]
    return [name]


def _has_weights(module: nn.Module) -> bool:
    """Whether it is more than a normalization layer, an activation or a scale."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _loose_norms(model: nn.Module, blocks: Sequence[str]) -> list[str]:
    """The modules without children and weights that belong to none of these blocks."""
    return [
        name
        for name, module in model.named_modules()
        if name
        and not any(True for _ in module.children())
        and not _has_weights(module)
        and not is_within(name, blocks)
    ]


def is_within(name: str, prefixes: Sequence[str]) -> bool:
    """Whether this is the name of one of these modules, or of something inside it."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt())
