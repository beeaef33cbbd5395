"""Slots: where the heads of many networks stand, those of one kind side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from affinity.sharing import Sharing
from affinity.tasks import Task

from .columns import columns_of

EMPTY = -1  # the column of which every target is NaN


@dataclass(frozen=True)
class Kind:
    """Heads of one shape under one loss.

    Args:
        head: One of them, as a template.
        loss: Of their tasks.
        slots: Where they stand in every member; some members leave some empty.
    """

    head: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    slots: slice


class Slots:
    """For every member, which of its heads stands in which slot.

    Args:
        networks: The members.
        tasks: All tasks, in the order of the targets' columns.
    """

    def __init__(self, networks: Sequence[Sharing], tasks: Sequence[Task]) -> None:
        templates: dict[object, tuple[nn.Module, Task]] = {}
        placed: list[dict[object, list[int]]] = []
        task_of = {task.name: task for task in tasks}
        for network in networks:
            own: dict[object, list[int]] = {}
            for place, kind in enumerate(kinds_of(network, tasks)):
                own.setdefault(kind, []).append(place)
                templates.setdefault(kind, (network.heads[place], task_of[network.names[place]]))
            placed.append(own)
        self.kinds: list[Kind] = []
        self.places: list[list[int | None]] = [[] for _ in networks]
        """The place of the head among its network's heads ``[member][slot]``; None if empty."""
        for key, (head, task) in templates.items():
            count = max(len(own.get(key, ())) for own in placed)
            start = len(self.places[0])
            self.kinds.append(Kind(head, task.loss, slice(start, start + count)))
            for places, own in zip(self.places, placed, strict=True):
                filled = own.get(key, [])
                places += [*filled, *[None] * (count - len(filled))]
        columns = [columns_of(network.names, tasks) for network in networks]
        self.columns: Int[Tensor, "member slot"] = torch.tensor(
            [
                [EMPTY if place is None else own[place] for place in places]
                for own, places in zip(columns, self.places, strict=True)
            ]
        )
        self._names = [network.names for network in networks]

    def of(self, member: int) -> dict[str, int]:
        """The slot of each task of a member."""
        names = self._names[member]
        return {
            names[place]: slot
            for slot, place in enumerate(self.places[member])
            if place is not None
        }


def kinds_of(network: Sharing, tasks: Sequence[Task]) -> Iterator[object]:
    """For every head what it must agree in with another one to be computed with it at once."""
    task_of = {task.name: task for task in tasks}
    for name, head in zip(network.names, network.heads, strict=True):
        loss = task_of[name].loss
        tensors = [*head.named_parameters(), *head.named_buffers()]
        shapes = tuple((n, tuple(t.shape), t.requires_grad) for n, t in tensors)
        # Modules of our user's may hold settings that do not show: such heads stay apart.
        is_plain = all(type(part).__module__.startswith("torch.nn.") for part in head.modules())
        yield repr(head) if is_plain else name, shapes, _key_of(loss)


def _key_of(loss: Callable[[Tensor, Tensor], Tensor]) -> object:
    try:
        hash(loss)
    except TypeError:
        return id(loss)
    return loss
