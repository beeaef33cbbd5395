"""Row sets: the rows of its replicate that each of many networks uses."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from affinity.tasks import Examples, ExamplesView

from .head_layout import EMPTY


class RowSets:
    """Rows of all replicates in one list, and which of them each member uses.

    Members that use the same rows share a row set. A row without labels ends the list and fills up
    the shorter sets. Inputs are not copied if all replicates have theirs in one table on the CPU.
    `columns` are the targets' columns by slot, `on` is each member's replicate. With `every_row`,
    members use rows without a label for them, too; `is_ordered`: each replicate goes through its
    rows in an order of its own.
    """

    def __init__(
        self,
        parts: Sequence[Examples],
        columns: Int[Tensor, "member slot"],
        on: Sequence[int],
        device: torch.device,
        every_row: bool = False,
        is_ordered: bool = False,
    ) -> None:
        tables = {id(part): part for part in parts}  # test rows are often common to replicates
        sizes = [len(table) for table in tables.values()]
        ends = list(accumulate(sizes))
        start_of = {key: end - size for key, end, size in zip(tables, ends, sizes, strict=True)}
        self._inputs, self._places_of_inputs = _one_table(list(tables.values()), device)
        self._targets: Float[Tensor, "column row"] = (
            nn.functional.pad(  # the last of both are NaN
                torch.cat([table.targets for table in tables.values()]),
                (0, 1, 0, 1),
                value=math.nan,
            )
            .T.contiguous()
            .to(device)
        )
        self._columns = columns.to(device)
        groups = [table.groups for table in tables.values() if table.groups is not None]
        self._groups = torch.cat(groups) if len(groups) == len(tables) else None
        weights = [table.weights for table in tables.values() if table.weights is not None]
        self._weights = (
            torch.cat([*weights, weights[0].new_ones(1)]).to(device)
            if len(weights) == len(tables)
            else None
        )
        rank_starts = [0, *accumulate(len(part) for part in parts)]
        sets: dict[tuple[int, frozenset[int]], int] = {}
        set_of: dict[tuple[int, frozenset[int]], int] = {}
        rows: list[Tensor] = []
        places: list[Tensor] = []
        own_set: list[int] = []
        for network_columns, replicate in zip(columns, on, strict=True):
            wanted = replicate, frozenset(network_columns[network_columns != EMPTY].tolist())
            if wanted not in set_of:
                part = parts[replicate]
                chosen = torch.arange(len(part))
                mine = frozenset[int]()  # all rows
                if not every_row:
                    labelled = (~part.targets[:, sorted(wanted[1])].isnan()).any(dim=1)
                    if not bool(labelled.all()):
                        chosen, mine = labelled.nonzero().squeeze(1), wanted[1]
                key = (replicate if is_ordered else start_of[id(part)], mine)
                if key not in sets:
                    sets[key] = len(rows)
                    rows.append(start_of[id(part)] + chosen)
                    places.append(rank_starts[replicate] + chosen)
                set_of[wanted] = sets[key]
            own_set.append(set_of[wanted])
        self._set_of = torch.tensor(own_set, device=device)
        self._counts = [len(some) for some in rows]
        self.rows: Int[Tensor, "set row"] = _padded(rows, ends[-1]).to(device)
        self._places: Int[Tensor, "set row"] = _padded(places, rank_starts[-1])

    @property
    def row_size(self) -> int:
        """Numbers in the inputs of a row."""
        return self._inputs[:1].numel()

    def count(self, member: int) -> int:
        """Number of rows that a member uses."""
        return self._counts[int(self._set_of[member])]

    def groups_of(self, member: int) -> Int[Tensor, " row"] | None:
        """The group of each row that a member uses; None if rows have no groups."""
        if self._groups is None:
            return None
        return self._groups[self.rows[self._set_of[member]][: self.count(member)].cpu()]

    def weights_of(self, member: int) -> Float[Tensor, " row"] | None:
        """The weight of each row that a member uses; None if rows have no weights."""
        if self._weights is None:
            return None
        return self._weights[self.rows[self._set_of[member]][: self.count(member)]].cpu()

    def batches(self, rank: Sequence[Tensor], size: int) -> tuple[Int[Tensor, "set batch"], ...]:
        """The rows of every set, in the order of its replicate's ranks, a batch at a time."""
        last = torch.full((1,), torch.iinfo(torch.long).max)
        order = torch.cat([*rank, last])[self._places].argsort(dim=1)
        return self.rows.gather(1, order.to(self.rows.device)).split(size, dim=1)

    def take(
        self, rows: Int[Tensor, "set batch"], here: Int[Tensor, " member"]
    ) -> tuple[
        Float[Tensor, "member_or_one batch *feature"],
        Float[Tensor, "member slot batch"],
        Float[Tensor, "member slot batch"] | None,
    ]:
        """Inputs, targets and weights; inputs only once if all members use the same rows."""
        here = here.to(self._inputs.device)
        columns = self._columns[here]
        if len(rows) == 1:
            targets = self._targets[:, rows[0]][columns]
            weights = None if self._weights is None else self._weights[rows[0]].expand_as(targets)
            return self._inputs[self._places_of_inputs[rows]], targets, weights
        chosen = rows[self._set_of[here]]  # member batch
        places = self._places_of_inputs[chosen]
        inputs = self._inputs.index_select(0, places.flatten()).unflatten(0, chosen.shape)
        targets = self._targets[columns[:, :, None], chosen[:, None, :]]
        if self._weights is None:
            return inputs, targets, None
        return inputs, targets, self._weights[chosen][:, None].expand_as(targets)


def _one_table(
    parts: Sequence[Examples], device: torch.device
) -> tuple[Float[Tensor, "place *feature"], Int[Tensor, " row"]]:
    """A table with the inputs of all rows, and the place in it of each of them and of one more."""
    views = [
        part if isinstance(part, ExamplesView) else part.view(torch.arange(len(part)))
        for part in parts
    ]
    rows = torch.cat([view.rows for view in views])
    if device.type == "cpu" and len({id(view.table) for view in views}) == 1 and len(rows):
        is_labelled = torch.cat([view.labelled.any(dim=1) for view in views])
        return views[0].table, torch.cat([rows, rows[is_labelled.int().argmax()].unsqueeze(0)])
    empty = views[0].table.new_zeros(1, *views[0].table.shape[1:])
    table = torch.cat([*(view.inputs for view in views), empty]).to(device)
    return table, torch.arange(len(table), device=device)


def _padded(rows: list[Tensor], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
