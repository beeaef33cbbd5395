"""Pace: how far each member of a stack goes along a step, and what it is drawn to."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from affinity.sharing import Sharing

from .initialization import Initialization
from .slots import Slots
from .stacked_tensors import Tensors

Names = list[list[str | None]]
"""What one tensor of a stack is called in each member (and slot); None where a slot is empty."""


class Pace:
    """The starts of all members, an entry a member (and slot) of each tensor.

    AdamW's step is proportional to the learning rate: a scale of it is the share of the way from
    the parameters before a step to those after it.

    Args:
        networks: The members.
        slots: Where their heads stand.
        starts: What they start from.
        tensors: Their parameters.
    """

    def __init__(
        self,
        networks: Sequence[Sharing],
        slots: Slots,
        starts: Sequence[Initialization],
        tensors: Tensors,
    ) -> None:
        self._scales: Tensors = {}
        self._pulls: Tensors = {}
        self._toward: Tensors = {}
        for name, tensor in tensors.items():
            own = _with(starts, _names(name, networks, slots))
            scales = [[start.scale_of(each or "") for each in some] for start, some in own]
            if tensor.requires_grad and any(scale != 1 for some in scales for scale in some):
                self._scales[name] = _beside(name, scales, tensor)
            pulls = [
                [start.pull / 2 if each in start.toward else 0.0 for each in some]
                for start, some in own
            ]
            if any(pull for some in pulls for pull in some):
                self._pulls[name] = _beside(name, pulls, tensor)
                toward = tensor.detach().clone()
                of_slot = toward.view(len(pulls), len(pulls[0]), -1)
                for member, (start, some) in enumerate(own):
                    for slot, each in enumerate(some):
                        if each is not None and each in start.toward:
                            of_slot[member, slot] = start.toward[each].flatten()
                self._toward[name] = toward

    def step(
        self, optimizer: torch.optim.Optimizer, tensors: Tensors, here: Int[Tensor, " member"]
    ) -> None:
        """A step of the optimizer, of which each parameter goes its share.

        Args:
            optimizer: Of the tensors.
            tensors: Those of the members that are here.
            here: Their numbers.
        """
        before = {name: tensors[name].detach().clone() for name in self._scales}
        optimizer.step()
        with torch.no_grad():
            for name, old in before.items():
                tensors[name].copy_(old.lerp(tensors[name], self._scales[name][here]))

    def penalty(self, tensors: Tensors, here: Int[Tensor, " member"]) -> Tensor | float:
        """What draws all members together."""
        parts = [
            (pulls[here] * (tensors[name] - self._toward[name][here]).square()).sum()
            for name, pulls in self._pulls.items()
        ]
        return torch.stack(parts).sum() if parts else 0.0


def _names(name: str, networks: Sequence[Sharing], slots: Slots) -> Names:
    prefix, _, rest = name.partition(".")
    if prefix == "body":
        return [[rest] for _ in networks]
    kind = slots.kinds[int(prefix)].slots
    return [
        [None if place is None else f"heads.{place}.{rest}" for place in places[kind]]
        for places in slots.places
    ]


def _with(
    starts: Sequence[Initialization], names: Names
) -> list[tuple[Initialization, list[str | None]]]:
    return list(zip(starts, names, strict=True))


def _beside(name: str, rows: list[list[float]], tensor: Tensor) -> Tensor:
    """An entry a member (and slot), so that it multiplies the tensor of this name."""
    table = torch.tensor(rows).to(tensor)
    table = table.squeeze(1) if name.startswith("body.") else table
    return table.reshape(*table.shape, *[1] * (tensor.dim() - table.dim()))
