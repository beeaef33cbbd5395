"""Blocks of a network: the parts, from inputs to outputs, that fine-tuning recipes refer to."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.sharing import HardSharing

HEADS = "heads"
"""The last block of a `HardSharing` network: its tasks' heads."""


def blocks_of(model: nn.Module, blocks: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The parameter names of each block, from inputs to outputs; the last block is the head.

    By default, a block is a child module with parameters, in the order of registration; a child
    that is an `nn.Sequential` is split into its own children. The blocks of a `HardSharing` network
    are the parts of the trunk, then the heads.

    Args:
        model: Any module.
        blocks: Names of modules, or prefixes of parameter names, from inputs to outputs.

    Raises:
        InputError: If a block has no parameters, a parameter belongs to no block or to two, or
            there are fewer than two blocks.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> blocks_of(model)
        {'0': ('0.weight', '0.bias'), '2': ('2.weight', '2.bias')}
    """
    names = [name for name, _ in model.named_parameters()]
    parameters_of = {
        block: tuple(name for name in names if name == block or name.startswith(f"{block}."))
        for block in (_default_blocks(model) if blocks is None else blocks)
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


def relative_gradient_norms(
    model: nn.Module, losses: Iterable[Tensor], blocks: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    r"""Gradient norm of each block divided by the norm of its parameters, averaged over batches.

    .. math::
        \mathrm{RGN}_k = \lVert \nabla_k L \rVert / \lVert \theta_k \rVert

    Args:
        model: The network.
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


def _default_blocks(model: nn.Module) -> list[str]:
    if isinstance(model, HardSharing):
        return [*_parts(model.trunk, "trunk"), HEADS]
    if isinstance(model, nn.Sequential):
        return _parts(model, "")
    return [part for name, child in model.named_children() for part in _parts(child, name)]


def _parts(module: nn.Module, name: str) -> list[str]:
    """The module, or the children of an `nn.Sequential`, as far as they have parameters."""
    children = dict(module.named_children()) if isinstance(module, nn.Sequential) else {}
    parts = {f"{name}.{child_name}".lstrip("."): child for child_name, child in children.items()}
    return [
        part
        for part, child in (parts or {name: module}).items()
        if any(True for _ in child.parameters())
    ]


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors]).sum().sqrt())
