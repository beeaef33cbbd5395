"""Per-parameter learning rates and pulls for the members of a stack."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.sharing import Sharing

from .head_layout import HeadLayout
from .initialization import Initialization
from .stacked_tensors import StackedTensors


class ParameterRates:
    """Learning-rate scales and pulls of all members, one entry per member (and slot) of a tensor.

    AdamW's step is proportional to the learning rate, so a scale of it is applied by interpolating
    between the parameters before and after a step.
    """

    def __init__(
        self,
        networks: Sequence[Sharing],
        layout: HeadLayout,
        starts: Sequence[Initialization],
        tensors: StackedTensors,
    ) -> None:
        self._scales: StackedTensors = {}
        self._pulls: StackedTensors = {}
        self._toward: StackedTensors = {}
        for key, tensor in tensors.items():
            names = _member_names(key, networks, layout)
            members = list(zip(starts, names, strict=True))
            scales = [[start.scale_of(name or "") for name in row] for start, row in members]
            if tensor.requires_grad and any(scale != 1 for row in scales for scale in row):
                self._scales[key] = _expand(key, scales, tensor)
            pulls = [
                [start.pull / 2 if name in start.toward else 0.0 for name in row]
                for start, row in members
            ]
            if any(pull for row in pulls for pull in row):
                self._pulls[key] = _expand(key, pulls, tensor)
                toward = tensor.detach().clone()
                by_slot = toward.view(len(pulls), len(pulls[0]), -1)
                for member, (start, row) in enumerate(members):
                    for slot, name in enumerate(row):
                        if name is not None and name in start.toward:
                            by_slot[member, slot] = start.toward[name].flatten()
                self._toward[key] = toward

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        tensors: StackedTensors,
        here: Int[Tensor, " member"],
    ) -> None:
        """Take a step of the optimizer, scaled for each parameter of the members `here`."""
        before = {name: tensors[name].detach().clone() for name in self._scales}
        optimizer.step()
        with torch.no_grad():
            for name, old in before.items():
                tensors[name].copy_(old.lerp(tensors[name], self._scales[name][here]))

    def penalty(self, tensors: StackedTensors, here: Int[Tensor, " member"]) -> Tensor | float:
        """The pull penalties of all members together."""
        parts = [
            (pulls[here] * (tensors[name] - self._toward[name][here]).square()).sum()
            for name, pulls in self._pulls.items()
        ]
        return torch.stack(parts).sum() if parts else 0.0


def _member_names(
    key: str, networks: Sequence[Sharing], layout: HeadLayout
) -> list[list[str | None]]:
    """The name of a stacked tensor in each member (and slot); None if a slot is empty."""
    prefix, _, name = key.partition(".")
    if prefix == "body":
        return [[name] for _ in networks]
    slots = layout.kinds[int(prefix)].slots
    return [
        [None if place is None else f"heads.{place}.{name}" for place in places[slots]]
        for places in layout.places
    ]


def _expand(key: str, rows: list[list[float]], tensor: Tensor) -> Tensor:
    """One entry per member (and slot), in a shape that multiplies the tensor of this key."""
    table = torch.tensor(rows).to(tensor)
    table = table.squeeze(1) if key.startswith("body.") else table
    return table.reshape(*table.shape, *[1] * (tensor.dim() - table.dim()))
