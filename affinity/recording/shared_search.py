"""Shared search: which parameters the tasks share, by their names or by the losses' gradients."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from affinity.errors import InputError, warn

from .batch import Batch
from .graph import (
    graph_nodes,
    refuse_overwritten_graphs,
    refuse_reentrant_checkpoints,
    shared_graph,
    terms_of,
)
from .precision import rounding_of
from .ranks import Ranks
from .recorder_state import SearchState
from .settings import Settings
from .shards import has_shards, local_part
from .shared_parameters import Shared, last_layer, layers_of, selected_parameters, unwrapped
from .shared_part import SharedPart

EARLY = 4  # the first observations at each of which the search continues; later at each power of 2


class SharedSearch:
    """Finds the shared part, and looks again when layers are frozen or thawed.

    Without names, a parameter is shared if at least two losses have a gradient other than 0 at one
    of its elements, at any of the observations that were searched. Stacked or concatenated losses
    reach each other's heads in the graph, but only with gradients of 0; and each task has a row of
    its own in the weight of a joint last layer.
    """

    def __init__(self, model: nn.Module, shared: Shared, settings: Settings) -> None:
        self._model = model
        self._shared = shared
        self._is_named = shared is not None
        self._named = selected_parameters(model, shared)
        self._settings = settings
        self.state = SearchState()
        self._part: SharedPart | None = None
        self._is_warned = False
        self._is_checked = False  # whether the losses' graphs can be used more than once
        self._is_sharded = has_shards(model)

    @property
    def named(self) -> tuple[str, ...]:
        """The shared parameters; none if they are found by the losses' gradients."""
        return tuple(self._named) if self._is_named else ()

    def find(self, tasks: tuple[str, ...], batch: Batch, ranks: Ranks) -> SharedPart | None:
        """The shared part; None while nothing is known to be shared and trained."""
        self._named = selected_parameters(self._model, self._shared)  # modules may be replaced
        named = [parameter for parameter in self._named.values() if parameter.requires_grad]
        if not self._is_checked and named:
            self._is_checked = True
            losses = batch.losses()
            _warn_of_sums(batch, losses)
            refuse_reentrant_checkpoints(losses)
            refuse_overwritten_graphs(losses, named)
            batch.restore()
        at_representation = self._settings.level == "representation"
        if not self._is_named and not at_representation:
            self._search(tasks, batch, ranks)
        known = {
            name: parameter
            for name, parameter in self._named.items()
            if self._is_named or name in self.state.shared
        }
        trained = {name: parameter for name, parameter in known.items() if parameter.requires_grad}
        if not trained and not at_representation:
            self._explain(list(known), batch.losses() if ranks.count == 1 else [])
            return None
        if self._settings.level == "last layer":
            trained = last_layer(trained, batch.losses())
            if not trained:
                return None
        if self._part is None or not _are_same(self._part.parameters, trained):
            losses = batch.losses()
            if self._part is not None:
                refuse_overwritten_graphs(losses, list(trained.values()))
            self._part = SharedPart(
                tasks,
                self._model,
                trained,
                self._layers(trained),
                self._settings,
                ranks,
                *rounding_of(graph_nodes(losses), batch.dtype),
                batch.dtype,
                self._frozen_module() if self._is_named and not trained else None,
                self._is_sharded,
            )
        return self._part

    def _frozen_module(self) -> nn.Module | None:
        """The smallest module that holds all named parameters, unless that is the model."""
        model = unwrapped(self._model)
        names = [name.split(".")[:-1] for name in self._named]
        common = [parts[0] for parts in zip(*names, strict=False) if len(set(parts)) == 1]
        return model.get_submodule(".".join(common)) if common else None

    def _layers(self, trained: Mapping[str, nn.Parameter]) -> dict[str, list[int]]:
        """The places of the trained parameters in each layer that holds some."""
        if not trained:
            return {"all": []}
        names = list(self._named)
        places = {name: place for place, name in enumerate(trained)}
        layers = layers_of(names, self._settings.layers)
        kept = {
            layer: [places[names[i]] for i in members if names[i] in places]
            for layer, members in layers.items()
        }
        return {layer: members for layer, members in kept.items() if members}

    def _search(self, tasks: tuple[str, ...], batch: Batch, ranks: Ranks) -> None:
        state = self.state
        present = [task for task, count in zip(tasks, batch.ranks_with, strict=True) if count]
        number, state.searches = state.searches, state.searches + 1
        is_new = not state.searched.issuperset(present)
        is_early = number < EARLY or not number & (number - 1) or not state.shared
        if not is_early and not is_new:
            return
        state.searched.update(present)
        names = [n for n, p in self._named.items() if p.requires_grad and n not in state.shared]
        parameters: list[Tensor] = [self._named[name] for name in names]
        for number, (task, count) in enumerate(zip(tasks, batch.ranks_with, strict=True), 1):
            if not count or not parameters:
                continue
            if self._is_sharded:
                gradient = batch.sharded_gradient(task, parameters, ranks)
            else:
                gradient = batch.gradient(task, parameters)
                gradient = ranks.mean_gradient(gradient, parameters)
            for name, part in zip(names, gradient or [], strict=False):
                if part is not None and name not in state.shared:
                    self._note(name, number, part)
        if self._is_sharded:  # each rank has searched its part
            is_shared = [float(name in state.shared) for name in names]
            totals = ranks.totals(is_shared, batch.device)
            state.shared.update(name for name, total in zip(names, totals, strict=True) if total)
            for name in state.shared:
                state.owners.pop(name, None)

    def _note(self, name: str, task: int, gradient: Tensor) -> None:
        """Note the elements that a task's gradient reaches."""
        owners = self.state.owners
        owner, tensor = owners.get(name), local_part(self._named[name])
        if owner is None or owner.shape != tensor.shape:
            dtype = torch.uint8 if task < 256 else torch.int32
            owner = owners[name] = torch.zeros_like(tensor, dtype=dtype)
        if owner.dtype == torch.uint8 and task > 255:
            owner = owners[name] = owner.int()
        if owner.device != gradient.device:  # read from a checkpoint
            owner = owners[name] = owner.to(gradient.device)
        where: tuple[Tensor, ...] = ()
        if gradient.is_sparse:  # rows of an embedding
            gradient = gradient.coalesce()
            where, gradient = tuple(gradient.indices()), gradient.values()
        before = owner[where]
        is_reached = gradient != 0
        if bool((is_reached & (before != 0) & (before != task)).any()):
            self.state.shared.add(name)
            del owners[name]
        else:
            owner[where] = before.masked_fill(is_reached, task)

    def _explain(self, known: Sequence[str], losses: Sequence[Tensor]) -> None:
        """Say once why nothing is recorded; refuse losses that can never share anything."""
        are_frozen = [n for n, p in self._named.items() if not p.requires_grad]
        if not self._is_named and len(losses) > 1 and not are_frozen:
            leaves = {id(leaf) for leaf in shared_graph(losses).leaves}
            if not any(id(parameter) in leaves for parameter in self._named.values()):
                raise InputError(
                    f"Expected parameters that at least two of the {len(losses)} losses reach, but "
                    "there are none: the tasks share nothing, so that there is nothing to record. "
                    "If each task has its own batches, name the shared part with shared=...",
                    "nothing-shared",
                )
        if are_frozen and not self._is_warned:
            self._is_warned = True
            which = ", ".join(known[:5]) if known else "all that the losses could share"
            warn(
                f"The shared part ({which}) is frozen (requires_grad=False): nothing is recorded "
                "until some of it is trained. To record a frozen trunk at its output, pass "
                'Recorder(model, shared="name of the trunk", level="representation") and a closure '
                "to observe.",
                "frozen-shared-part",
            )


def _warn_of_sums(batch: Batch, losses: Sequence[Tensor]) -> None:
    """Warn of losses that contain others: a total, or a loss to which others were added."""
    for task, terms in terms_of(dict(zip(batch.names, losses, strict=True))).items():
        batch.state.warn_once(
            f"The loss of the task {task!r} is a sum that contains the losses of {sorted(terms)}: "
            "it is recorded as it is, so that its gradient contains theirs. Pass the losses "
            "without their total; after total = losses[...], write total = total + ..., since "
            "total += ... changes that loss.",
            "sum-of-losses",
            task,
        )


def _are_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether these are the same parameters of the same names."""
    return list(one) == list(other) and all(one[name] is other[name] for name in one)
