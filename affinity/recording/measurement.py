"""One measurement: gradients of a batch, their inner products, and what lies ahead of them."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

from .base import base_losses
from .batch import Batch
from .gradients import Gradient, Gradients, inner_products
from .layers import layers_of
from .linear_layers import FactoredGradients
from .lookahead import lookahead_losses, put_back_after, write
from .progress import Progress
from .settings import Settings
from .sketcher import Sketch, in_the_same_directions, sketched
from .steps import StepFrom
from .trace import Trace
from .values import Values
from .watched import Watched


class Measurement:
    """Measure a batch; then maybe another one for the side of the targets; then ask for `trace`.

    Args:
        watched: What of the run.
        settings: How.
        progress: Of the recorder; a measurement moves it on.
        step_from: Makes the lookahead's step from the parameters as they are.
        momentum: What the optimizer carries along from earlier steps, where that is known.
        does_look: Whether this one looks ahead.
    """

    def __init__(
        self,
        watched: Watched,
        settings: Settings,
        progress: Progress,
        step_from: StepFrom,
        momentum: list[Tensor] | None,
        *,
        does_look: bool,
    ) -> None:
        self._watched = watched
        self._settings = settings
        self._progress = progress
        self._step_from = step_from
        self._momentum = momentum if settings.gramians else None
        self._does_look = does_look
        self._layers = layers_of(list(watched.parameters), settings.layers)
        self._values = Values(watched.tasks, list(self._layers), watched.device)
        self._sketch: Sketch | None = None
        self._kept: dict[str, Gradient] = {}

    def __call__(self, step: int, batch: Batch, other: Batch | None, *, is_first: bool) -> None:
        """Measure a batch, and, where it is known already, the held-out one beside it.

        Where `settings` holds out a micro-batch, the sources' gradients are kept for `hold_out`.
        """
        watched, values = self._watched, self._values
        values.step, values.learning_rate = step, self._step_from.learning_rate()
        values.losses = watched.losses(step, batch)
        if self._does_look:
            values.losses = base_losses(batch, self._progress, watched.tasks, is_first=is_first)
        if other is not None:
            self._losses_of(other)
        self._sketch = self._sketch_of(batch)
        if self._sketch is not None:
            values.layered[:] = self._sketch.gramian(self._sketch.products)
            values.directions = self._sketch.products.shape[1]
            if self._sketch.along is not None:
                values.momentum(self._sketch.along)
            if other is not None:
                self._sketch_again(other, self._sketch)
        elif self._settings.gramians:
            self._exactly(batch, other)
        if self._does_look and (self._sketch is not None or not self._settings.gramians):
            count = self._settings.lookahead_sources(len(watched.tasks))
            self._look(batch, other, self._progress.visit(watched.tasks, count))
        if self._does_look:
            if batch.has_drawn and self._progress.base_is_given:  # it was switched to dropout
                values.losses = batch.evaluate()
            values.losses = watched.ranks.mean_losses(values.losses)
        if batch.missing:
            values.losses[[watched.tasks.index(task) for task in batch.missing]] = torch.nan

    def hold_out(self, other: Batch) -> None:
        """Measure the targets on a batch that comes after the sources' own."""
        self._losses_of(other)
        if self._sketch is not None:
            self._sketch_again(other, self._sketch)
        elif self._settings.gramians and self._kept:
            self._cross(Gradients(self._kept), other)
        if self._does_look and other.can_evaluate:
            self._look(None, other, self._kept)
        self._kept = {}

    def trace(self) -> Trace:
        """The measurement as an entry of the trace."""
        return self._values.trace(
            layers=self._layers if self._settings.layers is not None else None,
            parameters=self._watched.shared,
            has_gramians=self._settings.gramians,
            has_lookahead=self._does_look,
            takes_own_step=self._settings.step == "optimizer",
            has_momentum=self._momentum is not None,
        )

    def _losses_of(self, other: Batch) -> None:
        losses = self._watched.losses(self._values.step, other)
        if self._does_look and other.can_evaluate:
            losses = self._watched.ranks.mean_losses(other.evaluate())
        self._values.other_losses = losses

    def _sketch_of(self, batch: Batch) -> Sketch | None:
        directions = self._settings.directions(len(self._watched.tasks))
        if not directions or batch.is_apart:
            return None
        return sketched(self._watched, self._progress, batch, directions, self._momentum)

    def _sketch_again(self, other: Batch, sketch: Sketch) -> None:
        targets = in_the_same_directions(self._watched, self._progress, other, sketch)
        self._values.held_out[:] = sketch.gramian(targets)

    def _exactly(self, batch: Batch, other: Batch | None) -> None:
        """Gramians, and lookaheads, of the visited sources, as many at once as memory holds."""
        watched, values = self._watched, self._values
        factored = self._factored(batch, other)
        if factored is not None:
            self._by_factors(factored)
            return
        tasks = watched.tasks
        visited = self._progress.visit(tasks, self._settings.sources or len(tasks))
        done: set[str] = set()
        for block in self._blocks(visited):
            sources = watched.gradients(batch, block)
            if not sources.of_tasks:
                continue
            rows = list(sources.of_tasks)
            values.gramians(self._products(sources, sources), rows, rows)
            self._along_momentum(sources)
            done.update(block)
            for task in batch.names:
                if task in done:
                    continue
                target = watched.gradients(batch, [task])
                if target.of_tasks:
                    self._along_momentum(target)
                    products = self._products(sources, target)
                    values.gramians(products, rows, [task])
                    values.gramians(products.transpose(1, 2), [task], rows)
            if other is not None:
                self._cross(sources, other)
            if self._does_look:
                self._look(batch, other, sources.of_tasks)
            if self._settings.held_out is not None:
                self._kept = sources.of_tasks

    def _factored(self, batch: Batch, other: Batch | None) -> FactoredGradients | None:
        """All gradients in factors, where their inner products are all that is asked for."""
        settings = self._settings
        needs_gradients = self._does_look or other is not None or settings.held_out is not None
        if needs_gradients or settings.sources is not None or not self._progress.has_factors:
            return None
        factored = self._watched.factored(batch, settings.memory)
        self._progress.has_factors = factored is not None
        return factored

    def _by_factors(self, factored: FactoredGradients) -> None:
        tasks = list(factored.gradients.of_tasks)
        if tasks:
            products = factored.inner_products(list(self._layers.values()))
            self._values.gramians(products, tasks, tasks)
            if self._momentum is not None:
                self._values.momentum(factored.products_with(self._momentum), tasks)

    def _along_momentum(self, gradients: Gradients) -> None:
        if self._momentum is not None:
            momentum = Gradients({"momentum": list[Tensor | None](self._momentum)})
            products = self._products(gradients, momentum).sum(0)[:, 0]
            self._values.momentum(products, list(gradients.of_tasks))

    def _cross(self, sources: Gradients, other: Batch) -> None:
        """Inner products with the targets' gradients on the held-out batch."""
        for task in other.names:
            target = self._watched.gradients(other, [task])
            if target.of_tasks:
                products = self._products(sources, target).sum(0)
                self._values.held_out_gramian(products, list(sources.of_tasks), task)

    def _products(
        self,
        sources: Gradients,
        targets: Gradients,
    ) -> Float[Tensor, "layer source target"]:
        layers = list(self._layers.values())
        if self._settings.level == "representation":
            layers = [list(range(len(sources.sizes())))]
        return self._watched.summed(inner_products(sources, targets, layers))

    def _look(
        self,
        batch: Batch | None,
        other: Batch | None,
        sources: Mapping[str, Gradient] | Sequence[str],
    ) -> None:
        """Lookaheads along gradients, or along those of tasks that are yet to be taken."""
        watched, shared = self._watched, self._watched.shared
        with put_back_after(shared) as before:
            step = self._step_from(before)
            present = [] if batch is None else watched.present(batch).tolist()
            for task in sources:
                if isinstance(sources, Mapping):
                    gradient = sources[task]
                else:  # the graph is read at the values that it was made with
                    assert batch is not None
                    write(shared, before)
                    gradient = watched.gradient(batch, task, present)
                    if gradient is not None and self._settings.held_out is not None:
                        self._kept[task] = gradient
                if gradient is None:
                    continue
                evaluate = [each.evaluate for each in (batch, other) if each is not None]
                rows = lookahead_losses(evaluate, shared, gradient, step)
                rows = [watched.ranks.mean_losses(row) for row in rows]
                if batch is not None:
                    self._values.lookahead_row(task, rows[0], held_out=False)
                if other is not None:
                    self._values.lookahead_row(task, rows[-1], held_out=True)

    def _blocks(self, tasks: Sequence[str]) -> Iterator[Sequence[str]]:
        size = len(tasks)
        if self._settings.level != "representation":
            bytes_each = 4 * sum(parameter.numel() for parameter in self._watched.shared)
            size = max(int(self._settings.memory // bytes_each), 1)
            if self._settings.held_out is not None and size < len(tasks):
                raise InputError(
                    f"Expected room for the gradients of {len(tasks)} tasks until the next "
                    f"micro-batch, but memory={self._settings.memory:.0f} holds {size}: pass "
                    f"memory={bytes_each * len(tasks)}, or sources={size} to visit fewer in turn."
                )
        for start in range(0, len(tasks), size):
            yield tasks[start : start + size]
