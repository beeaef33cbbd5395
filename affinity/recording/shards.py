"""Shards: each process's part of the parameters and gradients of FSDP2 and tensor parallel models.

A backward pass leaves, for each parameter, this process's part of the gradient. The inner product
of two whole gradients is the sum over processes of the products of their parts, so that no process
ever holds a whole gradient.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from affinity.errors import InputError

from .gradients import Gradient, reusable_graph
from .graph import graph_nodes, leaf_of
from .settings import Settings


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds a part of the tensor, as FSDP2 and tensor parallel do."""
    return type(tensor).__name__ == "DTensor"


def has_shards(model: nn.Module) -> bool:
    """Whether the model has sharded parameters."""
    return any(is_sharded(parameter) for parameter in model.parameters())


def local_part(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, in the same memory; any other tensor as it is."""
    part: Any = tensor.detach() if is_sharded(tensor) else tensor
    return part.to_local() if is_sharded(tensor) else part


def is_counted_here(parameter: Any) -> bool:
    """Whether this process is the first of those that hold the same part of a parameter."""
    if not is_sharded(parameter):
        return dist.get_rank() == 0
    places = zip(parameter.device_mesh.get_coordinate(), parameter.placements, strict=True)
    return all(place == 0 for place, placement in places if placement.is_replicate())


def refuse_shards(model: nn.Module) -> None:
    """Raise an error if no process has whole parameters, where they are needed."""
    _refuse_other_shards(model)
    for name, parameter in model.named_parameters():
        if is_sharded(parameter):
            raise InputError(
                f"Expected whole parameters on each process, but {name} is sharded (FSDP2 or "
                "tensor parallel): use DistributedDataParallel, or a smaller model in one process.",
                "sharded-parameters",
            )


def check_shards(model: nn.Module, settings: Settings) -> bool:
    """Whether the model has sharded parameters; an error if these settings cannot record them."""
    _refuse_other_shards(model)
    parameters: dict[str, Any] = {n: p for n, p in model.named_parameters() if is_sharded(p)}
    for name, parameter in parameters.items():
        if parameter.device_mesh.size() != dist.get_world_size():
            raise InputError(
                f"Expected sharded parameters on all {dist.get_world_size()} processes, but {name} "
                f"is on {parameter.device_mesh.size()} of them (pipelines, parallel experts, or "
                "tensor parallel below DistributedDataParallel), which cannot be recorded.",
                "sharded-parameters",
            )
    unsupported = {
        "a sketch": settings.sketch not in {"auto", 0},
        'step="optimizer"': settings.step == "optimizer",
        'level="last layer"': settings.level == "last layer",
    }
    for what, is_given in unsupported.items():
        if parameters and is_given:
            raise InputError(
                f"Expected settings that sharded parameters allow, but got {what}, which needs "
                "whole ones: leave it out.",
                "sharded-parameters",
            )
    return bool(parameters)


def _refuse_other_shards(model: nn.Module) -> None:
    is_wrapped = any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules())
    if is_wrapped or any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise InputError(
            "Expected whole parameters, or those of fully_shard or of tensor parallel, but "
            "FullyShardedDataParallel (FSDP1) and DeepSpeed ZeRO-3 keep them in other forms, which "
            "cannot be recorded: use fully_shard (FSDP2).",
            "sharded-parameters",
        )


def reshard(model: nn.Module) -> list[Any]:
    """Let each process hold its part alone, so that the next pass gathers the values again.

    Returns the modules whose parameters FSDP2 had gathered, as the root's between two passes.
    """
    gathered: list[Any] = [
        module
        for module in model.modules()
        if any(group.is_unsharded for group in _groups_of(module))
    ]
    for module in gathered:
        module.reshard()
    return gathered


def gradient_parts(
    model: nn.Module,
    losses: Sequence[Tensor],
    weights: Sequence[float],
    parameters: Sequence[Any],
    *,
    has_gaps: bool,
) -> Gradient:
    """This process's part of the gradient of the weighted sum of `losses`, by a backward pass.

    What FSDP2 reduces is the mean over processes. Nothing is left in ``.grad``, and no hook runs
    that follows the accumulation of gradients, such as an optimizer's. With `has_gaps`, processes
    have different losses: a process has gradients of 0 for parameters that it does not reach.
    """
    leaves = {id(leaf): leaf for node in graph_nodes(losses) if (leaf := leaf_of(node)) is not None}
    settings: list[tuple[Any, str, object]] = []  # so that FSDP2 reduces the gradients
    for module in model.modules():
        for group in _groups_of(module):
            leaves |= {id(part.sharded_param): part.sharded_param for part in group.fsdp_params}
            settings += [
                (module._get_fsdp_state()._state_ctx, "is_last_backward", True),  # type: ignore
                (group, "reduce_grads", True),
                (group, "all_reduce_grads", True),
                (group, "gradient_divide_factor", None),
                (group, "_partial_reduce_output", None),
                *([(group, "reduce_scatter_unused_params", True)] if has_gaps else ()),
                *((part, "unsharded_accumulated_grad", None) for part in group.fsdp_params),
            ]
            if not group._reshard_after_forward:  # the graph may hold its parameters directly
                module.unshard()  # type: ignore
    settings += [(leaf, "grad", None) for leaf in leaves.values()]
    with _without_hooks(leaves.values()), _set(settings):
        with reusable_graph(losses[0].device.type):
            signals = [torch.full_like(loss, w) for loss, w in zip(losses, weights, strict=True)]
            torch.autograd.backward(losses, signals, retain_graph=True)
        gradient = [parameter.grad for parameter in parameters]
    reshard(model)
    return [
        part.redistribute(parameter.device_mesh, parameter.placements).to_local()
        if is_sharded(parameter) and part is not None
        else part
        for parameter, part in zip(parameters, gradient, strict=True)
    ]


@contextmanager
def _set(settings: Sequence[tuple[Any, str, object]]) -> Generator[None]:
    """Attributes of objects have these values, and those of before at the end.

    FSDP2 offers no public way to run a second backward pass, so that these are private.
    """
    for owner, name, _ in settings:
        if not hasattr(owner, name):
            raise InputError(
                f"torch {torch.__version__} keeps the state of fully_shard in another form than "
                f"torch 2.13 ({type(owner).__name__} has no {name}), so that its gradients cannot "
                "be recorded: use DistributedDataParallel, or torch 2.13.",
                "sharded-parameters",
            )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


@contextmanager
def _without_hooks(leaves: Iterable[Any]) -> Generator[None]:
    """No hook runs after a gradient is accumulated, such as that of an optimizer in the pass."""
    hooks = [leaf._post_accumulate_grad_hooks for leaf in leaves]
    before = [(of_leaf, dict(of_leaf)) for of_leaf in hooks if of_leaf]
    try:
        for of_leaf, _ in before:
            of_leaf.clear()
        yield
    finally:
        for of_leaf, kept in before:
            of_leaf.update(kept)


def _groups_of(module: nn.Module) -> Sequence[Any]:
    """FSDP2's groups of parameters of a module; none where it was not passed to `fully_shard`."""
    state = getattr(module, "_get_fsdp_state", None)
    return () if state is None else state()._fsdp_param_groups
