"""What is watched of a run: its tasks and what they share, as all ranks see it."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError

from .batch import Batch
from .gradients import Gradient
from .graph import refuse_reentrant_checkpoints, shared_graph
from .layers import last_layer
from .once import Once
from .ranks import Ranks
from .settings import Level
from .shared_parameters import Shared, shared_parameters, unwrapped


@dataclass(frozen=True, eq=False)
class Watched:
    """The tasks of a run, and where their gradients are taken.

    Args:
        tasks: All of them, in order.
        model: The network, as the user holds it.
        parameters: The shared parameters, by name.
        level: Whether gradients are taken at the parameters or at the representation.
        ranks: With whom the run is shared.
    """

    tasks: tuple[str, ...]
    model: nn.Module
    parameters: dict[str, nn.Parameter]
    level: Level
    ranks: Ranks
    once: Once = field(default_factory=Once)

    @property
    def shared(self) -> list[Tensor]:
        """The shared parameters, in order."""
        return list(self.parameters.values())

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters(), torch.zeros(())).device

    def places(self, batch: Batch) -> Sequence[Tensor] | Sequence[GradientEdge]:
        """Where gradients of the batch's losses are taken."""
        if self.level != "representation":
            return self.shared
        places = shared_graph(batch.loss(task) for task in batch.names).representation
        if not places:
            raise InputError(
                "Expected a representation that at least two losses are made from, but there is "
                "none: the losses of this step share nothing but parameters."
            )
        return places

    def present(self, batch: Batch) -> Float[Tensor, " task"]:
        """On how many ranks each task has a loss."""
        names = batch.names
        present = [float(task in names) for task in self.tasks]
        return self.ranks.total(torch.tensor(present, device=self.device))

    def losses(self, step: int, batch: Batch) -> Float[Tensor, " task"]:
        """The batch's losses, after setting aside those that are not finite."""
        losses = batch.values()
        bad = [
            task
            for task, is_finite in zip(self.tasks, losses.isfinite().tolist(), strict=True)
            if not is_finite and task in batch.names
        ]
        if bad:
            batch.missing.update(bad)
            warnings.warn(
                f"The loss of {bad} is NaN or infinite at step {step}: recorded as missing there. "
                "Look for a too high learning rate, or labels and inputs that are not finite.",
                stacklevel=5,
            )
        losses = self.ranks.mean_losses(losses)
        return losses.where(losses.isfinite(), torch.nan)

    def gradients(
        self, batch: Batch, tasks: Iterable[str], places: Sequence[Tensor] | Sequence[GradientEdge]
    ) -> dict[str, Gradient]:
        """Gradients of those of `tasks` that are present and reach the shared part."""
        present = self.present(batch).tolist()
        gradients: dict[str, Gradient] = {}
        for task in tasks:
            count = int(present[self.tasks.index(task)])
            if not count:
                continue
            gradient = batch.gradient(task, places)
            if gradient is not None and all(part is None for part in gradient):
                self._tell_unreached(task)
                gradient = None
            if self.level != "representation":
                parameters = cast("Sequence[Tensor]", places)
                gradient = self.ranks.mean_gradient(gradient, parameters, count)
            if gradient is not None:
                gradients[task] = gradient
        return gradients

    def summed(self, products: Float[Tensor, "layer a b"]) -> Float[Tensor, "layer a b"]:
        """Over ranks, at the representation: each holds its part of the batch's."""
        if self.level != "representation":
            return products
        return self.ranks.total(products) / self.ranks.count**2

    def _tell_unreached(self, task: str) -> None:
        self.once.tell(
            task,
            f"The loss of the task {task!r} reaches none of the shared parameters, and is recorded "
            "as missing. Is it made from a detached representation, or is shared=... another "
            "part of the network?",
        )


def watched_part(
    tasks: tuple[str, ...],
    model: nn.Module,
    shared: Shared,
    level: Level,
    ranks: Ranks,
    batch: Batch,
) -> Watched:
    """Find what is shared, as named or in the graph of the first batch's losses.

    Raises:
        InputError: If nothing is, or the graph hides it.
    """
    losses = [batch.loss(task) for task in batch.names]
    refuse_reentrant_checkpoints(losses)
    parameters: dict[str, nn.Parameter] = {}
    if level != "representation" or shared is not None:
        parameters = shared_parameters(model, shared, losses)
    if level == "last layer":
        parameters = last_layer(parameters, losses)
    watched = Watched(tasks, model, parameters, level, ranks)
    if level == "parameters":
        _tell_of_hooks(watched)
    return watched


def _tell_of_hooks(watched: Watched) -> None:
    hooked = [
        name
        for name, parameter in watched.parameters.items()
        if getattr(parameter, "_backward_hooks", None)
    ]
    hooked += [
        name or "the model"
        for name, module in unwrapped(watched.model).named_modules()
        if getattr(module, "_backward_hooks", None)
    ]
    if hooked:
        watched.once.tell(
            "hooks",
            f"Backward hooks of {hooked} run once more for every task that is recorded. If "
            "they count calls or change something, register_post_accumulate_grad_hook is not "
            'called by the recorder; nor is any hook at Recorder(level="representation").',
        )
