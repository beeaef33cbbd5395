"""Stacked tensors: the parameters and buffers of many networks, one tensor for each name."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from affinity.sharing import Sharing

from .head_layout import HeadLayout
from .settings import TrainingSettings

StackedTensors = dict[str, Tensor]
"""``body.NAME [member ...]``, and ``KIND.NAME [member slot ...]`` for the heads of each kind."""


def stacked(
    networks: Sequence[Sharing], layout: HeadLayout, device: torch.device
) -> StackedTensors:
    """The tensors of all networks on this device; a template's fill empty slots."""
    tensors: StackedTensors = {}
    with torch.no_grad():
        bodies = [body_tensors(network) for network in networks]
        for name, example in bodies[0].items():
            tensor = torch.stack([body[name] for body in bodies]).to(device)
            tensors[f"body.{name}"] = tensor.requires_grad_(example.requires_grad)
        for number, kind in enumerate(layout.kinds):
            heads = [
                _all_tensors(kind.head if place is None else network.heads[place])
                for network, places in zip(networks, layout.places, strict=True)
                for place in places[kind.slots]
            ]
            for name, example in _all_tensors(kind.head).items():
                tensor = torch.stack([head[name] for head in heads]).to(device)
                tensor = tensor.unflatten(0, (len(networks), -1))
                tensors[f"{number}.{name}"] = tensor.requires_grad_(example.requires_grad)
    return tensors


def unstacked(
    tensors: StackedTensors, network: Sharing, layout: HeadLayout, member: int
) -> StackedTensors:
    """The state dict of one member on the CPU, in the order of its `network`'s."""
    state: StackedTensors = {}
    for name in body_tensors(network):
        state[name] = tensors[f"body.{name}"][member].detach().to("cpu", copy=True)
    for number, kind in enumerate(layout.kinds):
        for slot, place in enumerate(layout.places[member][kind.slots]):
            if place is not None:
                for name in _all_tensors(kind.head):
                    value = tensors[f"{number}.{name}"][member, slot]
                    state[f"heads.{place}.{name}"] = value.detach().to("cpu", copy=True)
    return {name: state[name] for name in network.state_dict()}


def under(prefix: str, tensors: StackedTensors) -> StackedTensors:
    """Those whose names start with the prefix, by the rest of their names."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def body_tensors(network: Sharing) -> StackedTensors:
    """The parameters and buffers outside the heads."""
    return {n: t for n, t in _all_tensors(network).items() if not n.startswith("heads.")}


def optimizer_of(tensors: StackedTensors, settings: TrainingSettings) -> torch.optim.AdamW:
    """One AdamW for all members; it is elementwise, so each member gets its own steps."""
    return torch.optim.AdamW(
        _trainable(tensors),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def without(
    done: Bool[Tensor, " member"],
    tensors: StackedTensors,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
) -> tuple[StackedTensors, torch.optim.Optimizer]:
    """Parameters and moments of the members that go on."""
    stay = (~done).nonzero().squeeze(1)
    left = {
        name: tensor.detach()[stay].requires_grad_(tensor.requires_grad)
        for name, tensor in tensors.items()
    }
    fresh = optimizer_of(left, settings)
    for before, after in zip(_trainable(tensors), _trainable(left), strict=True):
        fresh.state[after] = {
            name: value if value.dim() == 0 else value[stay]
            for name, value in optimizer.state[before].items()
        }
    return left, fresh


def _trainable(tensors: StackedTensors) -> list[Tensor]:
    return [tensor for tensor in tensors.values() if tensor.requires_grad]


def _all_tensors(module: nn.Module) -> StackedTensors:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
