"""Head layout: which head of which network is in which slot of a stack."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from affinity.sharing import Sharing
from affinity.tasks import Task

from .rows import columns_of

EMPTY = -1  # the column in which every target is NaN


@dataclass(frozen=True)
class HeadKind:
    """Heads of one shape with one loss."""

    head: nn.Module  # one of them, as a template
    loss: Callable[[Tensor, Tensor], Tensor]
    slots: slice  # theirs in every member; some may be empty in some members


class HeadLayout:
    """For every member, which of its heads is in which slot."""

    def __init__(self, networks: Sequence[Sharing], tasks: Sequence[Task]) -> None:
        templates: dict[object, tuple[nn.Module, Task]] = {}
        places_by_kind: list[dict[object, list[int]]] = []
        task_of = {task.name: task for task in tasks}
        for network in networks:
            by_kind: dict[object, list[int]] = {}
            for place, kind in enumerate(head_kinds(network, tasks)):
                by_kind.setdefault(kind, []).append(place)
                templates.setdefault(kind, (network.heads[place], task_of[network.names[place]]))
            places_by_kind.append(by_kind)
        self.kinds: list[HeadKind] = []
        self.places: list[list[int | None]] = [[] for _ in networks]
        """Index of the head among its network's heads ``[member][slot]``; None if empty."""
        for key, (head, task) in templates.items():
            count = max(len(by_kind.get(key, ())) for by_kind in places_by_kind)
            start = len(self.places[0])
            self.kinds.append(HeadKind(head, task.loss, slice(start, start + count)))
            for places, by_kind in zip(self.places, places_by_kind, strict=True):
                filled = by_kind.get(key, [])
                places += [*filled, *[None] * (count - len(filled))]
        columns = [columns_of(network.names, tasks) for network in networks]
        self.columns: Int[Tensor, "member slot"] = torch.tensor(
            [
                [EMPTY if place is None else member_columns[place] for place in places]
                for member_columns, places in zip(columns, self.places, strict=True)
            ]
        )
        self._names = [network.names for network in networks]

    def slots_of(self, member: int) -> dict[str, int]:
        """The slot of each task of a member, in the order of the network's tasks."""
        names = self._names[member]
        slots = {
            names[place]: slot
            for slot, place in enumerate(self.places[member])
            if place is not None
        }
        return {name: slots[name] for name in names}


def head_kinds(network: Sharing, tasks: Sequence[Task]) -> Iterator[object]:
    """One key per head, equal for heads that can be computed together."""
    task_of = {task.name: task for task in tasks}
    for name, head in zip(network.names, network.heads, strict=True):
        loss = task_of[name].loss
        tensors = [*head.named_parameters(), *head.named_buffers()]
        shapes = tuple((n, tuple(t.shape), t.requires_grad) for n, t in tensors)
        # A user's own modules may have settings that repr does not show: keep such heads apart.
        is_torch = all(type(part).__module__.startswith("torch.nn.") for part in head.modules())
        yield repr(head) if is_torch else name, shapes, _loss_key(loss)


def _loss_key(loss: Callable[[Tensor, Tensor], Tensor]) -> object:
    try:
        hash(loss)
    except TypeError:
        return id(loss)
    return loss
