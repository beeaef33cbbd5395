"""What is watched of a run: its tasks and what they share, as all ranks see it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError

from .batch import Batch, is_without_labels
from .compiled import refuse_graphs_that_overwrite_themselves
from .gradients import Gradient, Gradients
from .graph import refuse_reentrant_checkpoints, shared_graph
from .layers import last_layer
from .linear_layers import FactoredGradients, linear_layers
from .once import Once
from .ranks import Ranks
from .representation import representation_gradients
from .settings import Level
from .shared_parameters import Shared, shared_parameters


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

    def present(self, batch: Batch) -> Float[Tensor, " task"]:
        """On how many ranks each task has a loss."""
        names = set(batch.names)
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

    def gradients(self, batch: Batch, tasks: Sequence[str]) -> Gradients:
        """Gradients of those of `tasks` that are present and reach the shared part."""
        if self.level == "representation":
            return self._at_the_representation(batch, tasks)
        present = self.present(batch).tolist()
        gradients = {task: self.gradient(batch, task, present) for task in tasks}
        return Gradients({task: each for task, each in gradients.items() if each is not None})

    def factored(self, batch: Batch, memory: int) -> FactoredGradients | None:
        """Gradients of all tasks in factors, where that is cheaper and the process is alone.

        Args:
            batch: The batch.
            memory: How many bytes the factors of all tasks may take.
        """
        if self.level == "representation" or self.ranks.count > 1 or batch.is_apart:
            return None
        losses = [batch.loss(task) for task in batch.names]
        linear = linear_layers(losses, self.shared, len(losses))
        if not linear:
            return None
        numbers = [
            linear[place].numbers(parameter) if place in linear else parameter.numel()
            for place, parameter in enumerate(self.shared)
        ]
        if 4 * len(losses) * sum(numbers) > memory:
            return None
        places = [
            linear[place].output if place in linear else parameter
            for place, parameter in enumerate(self.shared)
        ]
        gradients = {task: self._gradient(batch, task, places) for task in batch.names}
        present = {task: each for task, each in gradients.items() if each is not None}
        return FactoredGradients(Gradients(present), linear)

    def gradient(self, batch: Batch, task: str, present: Sequence[float]) -> Gradient | None:
        """The gradient of one task at the shared parameters.

        Args:
            batch: The batch.
            task: One of the tasks.
            present: On how many ranks each is.
        """
        count = int(present[self.tasks.index(task)])
        if not count:
            return None
        gradient = self._gradient(batch, task, self.shared)
        return self.ranks.mean_gradient(gradient, self.shared, count)

    def _gradient(
        self, batch: Batch, task: str, places: Sequence[Tensor | GradientEdge]
    ) -> Gradient | None:
        gradient = batch.gradient(task, places)
        if gradient is not None and all(part is None for part in gradient):
            self._tell_unreached(task)
            return None
        return gradient

    def _at_the_representation(self, batch: Batch, tasks: Sequence[str]) -> Gradients:
        losses = {task: batch.loss(task) for task in batch.names}
        if len(losses) < 2:  # where the representation is cannot be told
            return Gradients({})
        graph = shared_graph(losses.values())
        if not graph.representation:
            raise InputError(
                "Expected a representation that at least two losses are made from, but there is "
                "none: the losses of this step share nothing but parameters."
            )
        gradients = dict(
            zip(losses, representation_gradients(list(losses.values()), graph), strict=True)
        )
        for task, gradient in gradients.items():
            if all(part is None for part in gradient):
                self._tell_unreached(task)
            elif is_without_labels(losses[task].item(), gradient):
                batch.missing.add(task)
        present = dict(zip(self.tasks, self.present(batch).tolist(), strict=True))
        absent: Gradient = [None] * len(graph.representation)
        of_tasks = {task: gradients.get(task, absent) for task in tasks if present[task]}
        if self.ranks.count == 1:
            of_tasks = {
                task: gradient
                for task, gradient in of_tasks.items()
                if any(part is not None for part in gradient)
            }
        return Gradients(of_tasks)

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
    if parameters:
        refuse_graphs_that_overwrite_themselves(losses, list(parameters.values()))
    return Watched(tasks, model, parameters, level, ranks)
