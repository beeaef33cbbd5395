"""A stack: networks of one shape side by side in one set of tensors, each on its own rows."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap

from affinity.sharing import Sharing
from affinity.tasks import Examples, Replicate, Task

from .columns import columns_of
from .divergence import divergence
from .judge import block_losses, scales_of
from .order import ranks
from .settings import TrainingSettings
from .trained import Trained

Tensors = dict[str, Tensor]

_AT_ONCE = 2**22  # numbers in one tensor of a pass over validation or test rows
_FEW_TASKS = 16  # below this, padding heads costs less than splitting the stack
_EMPTY = -1  # the column and the row of which every target is NaN


class Stack:
    """Networks that are trained at once.

    Every parameter stands in one tensor ``[member ...]``; heads of one shape under one loss in
    one tensor ``[member slot ...]``: a slot for each task, the rest empty. A missing label and an
    empty slot are both NaN targets, whose loss is 0.

    Args:
        networks: Freshly built, of one `shape_of`.
        tasks: All tasks, in the order of the targets' columns.
        on: The replicate of each network.
        replicates: What `on` refers to.
        settings: How to train.
    """

    def __init__(
        self,
        networks: Sequence[Sharing],
        tasks: Sequence[Task],
        on: Sequence[int],
        replicates: Sequence[Replicate],
        settings: TrainingSettings,
    ) -> None:
        self._networks = networks
        self._tasks = tasks
        self._on = on
        self._replicates = replicates
        self._settings = settings
        self._body = _Body(networks[0])
        self._kinds, self._slots = _layout(networks, tasks)
        self._columns = torch.tensor(  # member slot
            [
                [_EMPTY if place is None else columns[place] for place in slots]
                for columns, slots in zip(
                    [columns_of(network.names, tasks) for network in networks],
                    self._slots,
                    strict=True,
                )
            ]
        )

        fixed = settings.objective.fixed_weights([task.name for task in tasks])
        assert fixed is not None  # checked by `train_members`
        dtype = next(networks[0].parameters()).dtype
        self._weights = torch.tensor([*fixed, 0.0], dtype=dtype)[self._columns]  # member slot

    def train(self, keep: bool) -> list[Trained]:
        """Train all members; a result for each, in their order.

        Args:
            keep: Whether results hold parameters and predictions.
        """
        settings = self._settings
        training = _Rows([r.training for r in self._replicates], self, is_ordered=True)
        validation = _Rows([r.validation for r in self._replicates], self)
        scales = self._scales()
        n_members = len(self._networks)
        epochs = torch.zeros(n_members, dtype=torch.long)
        best_epoch = torch.zeros(n_members, dtype=torch.long)
        best = torch.full((n_members,), math.inf, dtype=torch.double)
        seconds = torch.zeros(n_members, dtype=torch.double)
        diverged: dict[int, str] = {}
        here = torch.arange(n_members)  # the members in the stack
        going = torch.ones(n_members, dtype=torch.bool)  # those of them that are not done
        tensors = self._stacked()
        kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        optimizer = _optimizer(tensors, settings)
        with torch.random.fork_rng():
            torch.manual_seed(self._replicates[self._on[0]].seed)
            for epoch in range(1, settings.epochs + 1):
                start = time.perf_counter()
                losses = self._epoch(epoch, tensors, optimizer, training, here)
                for position in (~losses.isfinite().all(dim=2).all(dim=0)).nonzero().flatten():
                    number = int(here[position])
                    if going[position]:
                        diverged[number] = self._divergence(number, losses[:, position], epoch)
                    going[position] = False
                score = self._score(tensors, validation, here, scales)  # member
                is_better = going & ((score < best[here]) | score.isnan())
                best[here[is_better]] = score[is_better]
                best_epoch[here[is_better]] = epoch
                for name, tensor in tensors.items():
                    kept[name][here[is_better]] = tensor.detach()[is_better]
                epochs[here[going]] = epoch
                seconds[here[going]] += (time.perf_counter() - start) / int(going.sum().clamp(1))
                going &= epoch - best_epoch[here] < settings.patience
                if not going.any():
                    break
                # Leaving costs about as much as a few steps of those who leave.
                if int((~going).sum()) * len(losses) * 4 > len(here):
                    tensors, optimizer = _without(~going, tensors, optimizer, settings)
                    here, going = here[going], going[going]
        return self._results(kept, validation, epochs, best_epoch, seconds, diverged, keep)

    def try_step(self) -> None:
        """One forward and backward pass, to find out whether `vmap` can follow the code."""
        training = _Rows([r.training for r in self._replicates], self, is_ordered=True)
        here = torch.arange(len(self._networks))
        tensors = self._stacked()
        losses = self._losses(tensors, *training.take(training.rows, here))
        (losses.sum() + self._penalty(tensors)).backward()

    def _stacked(self) -> Tensors:
        """All parameters and buffers: ``body.*`` [member ...] and ``k.*`` [member slot ...]."""
        tensors: Tensors = {}
        with torch.no_grad():
            bodies = [_body_tensors(network) for network in self._networks]
            for name, example in bodies[0].items():
                tensor = torch.stack([body[name] for body in bodies])
                tensors[f"body.{name}"] = tensor.requires_grad_(example.requires_grad)
            start = 0
            for number, kind in enumerate(self._kinds):
                heads = [
                    [
                        kind.head if place is None else network.heads[place]
                        for place in slots[start : start + kind.slots]
                    ]
                    for network, slots in zip(self._networks, self._slots, strict=True)
                ]
                start += kind.slots
                for name, example in _all_tensors(kind.head).items():
                    tensor = torch.stack(
                        [torch.stack([_all_tensors(head)[name] for head in row]) for row in heads]
                    )
                    tensors[f"{number}.{name}"] = tensor.requires_grad_(example.requires_grad)
        return tensors

    def _unstacked(self, tensors: Tensors, number: int) -> Tensors:
        """The state dict of one member."""
        state: Tensors = {}
        start = 0
        for name in _body_tensors(self._networks[number]):
            state[name] = tensors[f"body.{name}"][number].detach().clone()
        for index, kind in enumerate(self._kinds):
            for slot, place in enumerate(self._slots[number][start : start + kind.slots]):
                if place is not None:
                    for name in _all_tensors(kind.head):
                        value = tensors[f"{index}.{name}"][number, slot]
                        state[f"heads.{place}.{name}"] = value.detach().clone()
            start += kind.slots
        return {name: state[name] for name in self._networks[number].state_dict()}

    def _epoch(
        self,
        epoch: int,
        tensors: Tensors,
        optimizer: torch.optim.Optimizer,
        training: "_Rows",
        here: Int[Tensor, " member"],
    ) -> Float[Tensor, "step member slot"]:
        """One pass over the training rows of every member."""
        self._set_mode(training=True)
        for group in optimizer.param_groups:
            group["lr"] = self._settings.learning_rate_at(epoch)
        weights = self._weights[here]
        rank = [ranks(len(r.training), r.seed, epoch) for r in self._replicates]
        losses: list[Tensor] = []
        for rows in training.batches(rank, self._settings.batch_size):  # set batch
            loss = self._losses(tensors, *training.take(rows, here))
            optimizer.zero_grad()
            ((weights * loss).sum() + self._penalty(tensors)).backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _losses(
        self, tensors: Tensors, inputs: Tensor, targets: Float[Tensor, "member batch slot"]
    ) -> Float[Tensor, "member slot"]:
        def of_member(tensors: Tensors, inputs: Tensor, targets: Tensor) -> Tensor:
            return self._loss_a_slot(self._predictions(tensors, inputs), targets)

        return vmap(of_member, in_dims=(0, _batched(inputs), 0), randomness="different")(
            tensors, inputs.squeeze(0) if len(inputs) == 1 else inputs, targets
        )

    def _penalty(self, tensors: Tensors) -> Tensor | float:
        """Of all members together."""
        if type(self._networks[0]).penalty is Sharing.penalty:
            return 0.0

        def of_member(body: Tensors) -> Tensor:
            return functional_call(self._body, body, (None,))

        return vmap(of_member)(_in_body(tensors)).sum()

    def _predictions(self, tensors: Tensors, inputs: Tensor) -> list[Tensor]:
        """Of one member: ``[slot batch output]`` a kind of head."""
        representation = functional_call(self._body, _in_body(tensors), (inputs,))
        predictions: list[Tensor] = []
        start = 0
        for number, kind in enumerate(self._kinds):
            prefix = f"{number}."
            head = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
            if type(kind.head) is nn.Linear and isinstance(representation, Tensor):
                predictions.append(_linear(representation, **head))
                start += kind.slots
                continue
            if isinstance(representation, Tensor):
                own, dim = representation, None
            else:  # no slot is empty, and all members place their tasks alike
                places = self._slots[0][start : start + kind.slots]
                own, dim = torch.stack([representation[place or 0] for place in places]), 0
            start += kind.slots

            def of_slot(head: Tensors, own: Tensor, kind: _Kind = kind) -> Tensor:
                return functional_call(kind.head, head, (own,))

            predictions.append(vmap(of_slot, in_dims=(0, dim), randomness="different")(head, own))
        return predictions

    def _loss_a_slot(self, predictions: list[Tensor], targets: Tensor) -> Tensor:
        """Of one member."""
        losses: list[Tensor] = []
        start = 0
        for kind, prediction in zip(self._kinds, predictions, strict=True):
            own = targets[:, start : start + kind.slots]  # batch slot
            losses.append(vmap(kind.loss, in_dims=(0, 1))(prediction, own))
            start += kind.slots
        return torch.cat(losses)

    def _judge(
        self, tensors: Tensors, rows: "_Rows", here: Int[Tensor, " member"]
    ) -> tuple[list[Tensor], Float[Tensor, "member row slot"], Float[Tensor, "member slot"]]:
        """Predictions ``[member slot row output]`` a kind of head, targets, losses."""
        self._set_mode(training=False)
        width = max(1, _AT_ONCE // (len(here) * rows.inputs[0].numel()))
        parts: list[list[Tensor]] = []
        targets: list[Tensor] = []
        with torch.no_grad():
            for some in rows.rows.split(width, dim=1):
                inputs, own = rows.take(some, here)
                predictions = vmap(self._predictions, in_dims=(0, _batched(inputs)))(
                    tensors, inputs.squeeze(0) if len(inputs) == 1 else inputs
                )
                parts.append(predictions)
                targets.append(own)
            predictions = [torch.cat(kind, dim=2) for kind in zip(*parts, strict=True)]
            target = torch.cat(targets, dim=1)
            return predictions, target, vmap(self._loss_a_slot)(predictions, target)

    def _score(
        self,
        tensors: Tensors,
        validation: "_Rows",
        here: Int[Tensor, " member"],
        scales: Float[Tensor, "replicate column"],
    ) -> Float[Tensor, " member"]:
        """Mean over the labelled tasks of the validation loss / its scale."""
        _, targets, losses = self._judge(tensors, validation, here)
        is_labelled = ~targets.isnan().all(dim=1)  # member slot
        ratio = losses.double() / scales[torch.tensor(self._on)[here][:, None], self._columns[here]]
        return ratio.where(is_labelled, 0).sum(dim=1) / is_labelled.sum(dim=1)

    def _scales(self) -> Float[Tensor, "replicate column"]:
        """The loss of the best constant prediction, 1 for the empty column."""
        scales = torch.ones(len(self._replicates), len(self._tasks) + 1, dtype=torch.double)
        for number in set(self._on):
            replicate = self._replicates[number]
            of_task = scales_of(self._tasks, replicate.training, replicate.validation)
            scales[number, :-1] = torch.tensor(list(of_task.values()), dtype=torch.double)
        return scales

    def _results(
        self,
        kept: Tensors,
        validation: "_Rows",
        epochs: Int[Tensor, " member"],
        best_epoch: Int[Tensor, " member"],
        seconds: Float[Tensor, " member"],
        diverged: dict[int, str],
        keep: bool,
    ) -> list[Trained]:
        everyone = torch.arange(len(self._networks))
        validation_losses = self._final(kept, validation)
        evaluation_losses = torch.full_like(validation_losses, math.nan)
        parts = [r.evaluation for r in self._replicates if r.evaluation is not None]
        if len(parts) == len(self._replicates) and all(map(len, parts)):
            evaluation_losses = self._final(kept, _Rows(parts, self))
        test = _Rows([r.test for r in self._replicates], self, every_row=keep)
        predictions, test_targets, test_losses = self._judge(kept, test, everyone)
        test_losses[test_targets.isnan().all(dim=1)] = math.nan
        tasks = {task.name: task for task in self._tasks}
        results: list[Trained] = []
        for number, network in enumerate(self._networks):
            slot_of = {
                network.names[place]: slot
                for slot, place in enumerate(self._slots[number])
                if place is not None
            }
            n_rows = test.count(number)
            own = {
                name: self._slot(predictions, number, slot_of[name])[:n_rows]
                for name in network.names
            }
            is_lost = number in diverged
            metric = {
                name: math.nan
                if is_lost
                else tasks[name].metric(own[name], test_targets[number, :n_rows, slot_of[name]])
                for name in network.names
            }
            results.append(
                Trained(
                    tasks=network.names,
                    replicate=self._on[number],
                    validation_loss={
                        name: math.nan if is_lost else float(validation_losses[number, slot])
                        for name, slot in slot_of.items()
                    },
                    evaluation_loss={
                        name: math.nan if is_lost else float(evaluation_losses[number, slot])
                        for name, slot in slot_of.items()
                    },
                    test_loss={
                        name: math.nan if is_lost else float(test_losses[number, slot])
                        for name, slot in slot_of.items()
                    },
                    test_metric=metric,
                    best_epoch=int(best_epoch[number]),
                    epochs=int(epochs[number]),
                    seconds=float(seconds[number]),
                    n_parameters=sum(parameter.numel() for parameter in network.parameters()),
                    state=self._unstacked(kept, number) if keep else None,
                    predictions={name: value.clone() for name, value in own.items()}
                    if keep
                    else None,
                    diverged=diverged.get(number),
                    test_blocks={
                        name: block_losses(
                            tasks[name], own[name], test_targets[number, :n_rows, slot]
                        )
                        for name, slot in slot_of.items()
                        if not is_lost
                    },
                )
            )
        return results

    def _final(self, kept: Tensors, rows: "_Rows") -> Float[Tensor, "member slot"]:
        """Losses at the best epochs; NaN without labels."""
        _, targets, losses = self._judge(kept, rows, torch.arange(len(self._networks)))
        return losses.where(~targets.isnan().all(dim=1), math.nan)

    def _slot(self, predictions: list[Tensor], number: int, slot: int) -> Tensor:
        """``[row output]`` of one head."""
        for kind, prediction in zip(self._kinds, predictions, strict=True):
            if slot < kind.slots:
                return prediction[number, slot]
            slot -= kind.slots
        raise AssertionError

    def _divergence(self, number: int, losses: Float[Tensor, "step slot"], epoch: int) -> str:
        step, slot = (~losses.isfinite()).nonzero()[0].tolist()
        names = self._networks[number].names
        return divergence(
            names[self._slots[number][slot] or 0],
            float(losses[step, slot]),
            names,
            (epoch - 1) * len(losses) + step + 1,
        )

    def _set_mode(self, training: bool) -> None:
        self._body.train(training)
        for kind in self._kinds:
            kind.head.train(training)

    @property
    def columns(self) -> Int[Tensor, "member slot"]:
        """The targets' column of each slot; the last one, all NaN, of an empty slot."""
        return self._columns

    @property
    def on(self) -> Sequence[int]:
        """The replicate of each member."""
        return self._on


@dataclass(frozen=True)
class _Kind:
    """Heads of one shape under one loss; `slots` of them in every member, some left empty."""

    head: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    slots: int


class _Body(nn.Module):
    """A network without its heads, as a module that can be called; its penalty without inputs."""

    def __init__(self, network: Sharing) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor | None) -> Tensor | float | tuple[Tensor, ...]:
        return self.network.penalty() if inputs is None else self.network.represent(inputs)


class _Rows:
    """Rows of all replicates in one table, and which of them each member of a stack uses.

    Members that use the same rows share a row set. An empty row closes the table and fills up
    the shorter sets.

    Args:
        parts: The rows of each replicate.
        stack: The members.
        every_row: Whether members use rows without a label for them too.
        is_ordered: Whether each replicate goes through its rows in an order of its own.
    """

    def __init__(
        self,
        parts: Sequence[Examples],
        stack: Stack,
        every_row: bool = False,
        is_ordered: bool = False,
    ) -> None:
        tables = {id(part): part for part in parts}  # test rows are often common to replicates
        sizes = [len(table) for table in tables.values()]
        ends = list(accumulate(sizes))
        start_of = {key: end - size for key, end, size in zip(tables, ends, sizes, strict=True)}
        empty = parts[0].inputs.new_zeros(1, *parts[0].inputs.shape[1:])
        self.inputs = torch.cat([*(table.inputs for table in tables.values()), empty])
        self._targets = nn.functional.pad(  # a NaN column and a NaN row at the end
            torch.cat([table.targets for table in tables.values()]), (0, 1, 0, 1), value=math.nan
        )
        self._columns = stack.columns
        rank_starts = [0, *accumulate(len(part) for part in parts)]
        sets: dict[tuple[int, frozenset[int]], int] = {}
        rows: list[Tensor] = []
        places: list[Tensor] = []
        set_of: list[int] = []
        for own, replicate in zip(self._columns, stack.on, strict=True):
            part = parts[replicate]
            columns = frozenset(own[own != _EMPTY].tolist())
            if every_row or bool((~part.targets[:, sorted(columns)].isnan()).any(dim=1).all()):
                columns = frozenset[int]()  # all rows
            key = (replicate if is_ordered else start_of[id(part)], columns)
            if key not in sets:
                sets[key] = len(rows)
                labelled = ~part.targets[:, sorted(columns)].isnan()
                chosen = (
                    labelled.any(dim=1).nonzero().squeeze(1) if columns else torch.arange(len(part))
                )
                rows.append(start_of[id(part)] + chosen)
                places.append(rank_starts[replicate] + chosen)
            set_of.append(sets[key])
        self._set_of = torch.tensor(set_of)
        self._counts = [len(some) for some in rows]
        self.rows: Int[Tensor, "set row"] = _padded(rows, len(self.inputs) - 1)
        self._places: Int[Tensor, "set row"] = _padded(places, rank_starts[-1])

    def count(self, member: int) -> int:
        """How many rows a member uses."""
        return self._counts[int(self._set_of[member])]

    def batches(self, rank: Sequence[Tensor], size: int) -> tuple[Int[Tensor, "set batch"], ...]:
        """The rows of every set, in the order of its replicate's ranks, a batch at a time."""
        last = torch.full((1,), torch.iinfo(torch.long).max)
        order = torch.cat([*rank, last])[self._places].argsort(dim=1)
        return self.rows.gather(1, order).split(size, dim=1)

    def take(
        self, rows: Int[Tensor, "set batch"], here: Int[Tensor, " member"]
    ) -> tuple[Float[Tensor, "member_or_one batch *feature"], Float[Tensor, "member batch slot"]]:
        """Inputs and targets of these rows; inputs once where all members use the same rows."""
        columns = self._columns[here]
        if len(rows) == 1:
            targets = self._targets[rows[0]][:, columns]  # batch member slot
            return self.inputs[rows], targets.transpose(0, 1)
        own = rows[self._set_of[here]]  # member batch
        inputs = self.inputs.index_select(0, own.flatten()).unflatten(0, own.shape)
        return inputs, self._targets[own[:, :, None], columns[:, None, :]]


def shape_of(network: Sharing, tasks: Sequence[Task]) -> object:
    """What networks must agree in to be stacked: compares equal where they can."""
    body = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
        for name, tensor in _body_tensors(network).items()
    )
    if network.represents_once:
        size = len(network.names)
        heads = 0 if len(tasks) <= _FEW_TASKS else math.ceil(math.log2(size))
    else:
        heads = tuple(_kinds_of(network, tasks))
    return type(network), body, heads


def why_alone(network: Sharing, tasks: Sequence[Task], replicate: Replicate) -> str | None:
    """Why `network` cannot be stacked, None if it can."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:  # pyright: ignore[reportPrivateUsage]
            return "BatchNorm's running statistics cannot be stacked"
        if isinstance(module, nn.RNNBase):
            return "recurrent cells cannot be stacked"
    some = Examples(
        inputs=replicate.training.inputs[:2],
        targets=torch.zeros_like(replicate.training.targets[:2]),
    )
    tiny = Replicate(seed=0, training=some, validation=some, test=some)
    try:
        with torch.random.fork_rng():
            Stack([network] * 2, tasks, [0, 1], [tiny, tiny], TrainingSettings()).try_step()
    except (RuntimeError, ValueError, TypeError) as error:
        return f"vmap cannot follow it: {str(error).splitlines()[0]}"
    return None


def bytes_a_step(network: Sharing, inputs: Float[Tensor, "batch *feature"]) -> int:
    """About how much memory one member touches in a step: parameters, moments, activations."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with (
        torch.random.fork_rng(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        outputs = network(inputs)
    parameters = sum(parameter.nbytes for parameter in network.parameters())
    return 4 * parameters + 2 * sum(saved.values()) + sum(o.nbytes for o in outputs.values())


def _layout(
    networks: Sequence[Sharing], tasks: Sequence[Task]
) -> tuple[list[_Kind], list[list[int | None]]]:
    """The kinds of heads, and for every member which of its heads stands in which slot."""
    templates: dict[object, tuple[nn.Module, Task]] = {}
    placed: list[dict[object, list[int]]] = []
    task_of = {task.name: task for task in tasks}
    for network in networks:
        places: dict[object, list[int]] = {}
        for place, kind in enumerate(_kinds_of(network, tasks)):
            places.setdefault(kind, []).append(place)
            templates.setdefault(kind, (network.heads[place], task_of[network.names[place]]))
        placed.append(places)
    kinds = {
        kind: _Kind(head, task.loss, max(len(places.get(kind, ())) for places in placed))
        for kind, (head, task) in templates.items()
    }
    slots: list[list[int | None]] = []
    for places in placed:
        own: list[int | None] = []
        for key, kind in kinds.items():
            filled = places.get(key, [])
            own += [*filled, *[None] * (kind.slots - len(filled))]
        slots.append(own)
    return list(kinds.values()), slots


def _kinds_of(network: Sharing, tasks: Sequence[Task]) -> Iterator[object]:
    """For every head what it must agree in with another one to be computed with it at once."""
    task_of = {task.name: task for task in tasks}
    for name, head in zip(network.names, network.heads, strict=True):
        loss = task_of[name].loss
        shapes = tuple((n, tuple(t.shape), t.requires_grad) for n, t in _all_tensors(head).items())
        # Modules of our user's may hold settings that do not show: such heads stay apart.
        is_plain = all(type(part).__module__.startswith("torch.nn.") for part in head.modules())
        yield (
            repr(head) if is_plain else name,
            shapes,
            _key_of(loss),
        )


def _key_of(loss: Callable[[Tensor, Tensor], Tensor]) -> object:
    try:
        hash(loss)
    except TypeError:
        return id(loss)
    return loss


def _linear(
    own: Float[Tensor, "batch width"],
    weight: Float[Tensor, "slot output width"],
    bias: Float[Tensor, "slot output"] | None = None,
) -> Float[Tensor, "slot batch output"]:
    """Linear heads on one representation, as one product."""
    together = nn.functional.linear(
        own, weight.flatten(0, 1), None if bias is None else bias.flatten()
    )
    return together.unflatten(1, weight.shape[:2]).transpose(0, 1)


def _all_tensors(module: nn.Module) -> Tensors:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _body_tensors(network: Sharing) -> Tensors:
    return {
        name: tensor
        for name, tensor in _all_tensors(network).items()
        if not name.startswith("heads.")
    }


def _in_body(tensors: Tensors) -> Tensors:
    """The tensors of the bodies, as `_Body` calls them."""
    return {
        f"network.{name.removeprefix('body.')}": tensor
        for name, tensor in tensors.items()
        if name.startswith("body.")
    }


def _batched(inputs: Tensor) -> int | None:
    return None if len(inputs) == 1 else 0


def _padded(rows: list[Tensor], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _optimizer(tensors: Tensors, settings: TrainingSettings) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        _trainable(tensors),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _trainable(tensors: Tensors) -> list[Tensor]:
    return [tensor for tensor in tensors.values() if tensor.requires_grad]


def _without(
    done: Bool[Tensor, " member"],
    tensors: Tensors,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
) -> tuple[Tensors, torch.optim.Optimizer]:
    """Parameters and moments of the members that go on."""
    stay = (~done).nonzero().squeeze(1)
    left = {
        name: tensor.detach()[stay].requires_grad_(tensor.requires_grad)
        for name, tensor in tensors.items()
    }
    fresh = _optimizer(left, settings)
    for before, after in zip(_trainable(tensors), _trainable(left), strict=True):
        fresh.state[after] = {
            name: value if value.dim() == 0 else value[stay]
            for name, value in optimizer.state[before].items()
        }
    return left, fresh
