"""One measurement: gradients of a batch, their inner products, and what lies ahead of them."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

from .batch import Batch
from .gradients import Gradient, inner_products
from .layers import layers_of
from .lookahead import lookahead_losses, put_back_after, write
from .progress import Progress
from .settings import Settings
from .sketcher import Sketch, in_the_same_directions, sketched
from .steps import StepFrom
from .trace import Trace
from .values import Values
from .watched import Watched


class Measurement:
    """Measure a batch, and maybe another one for the side of the targets.

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
        self._momentum = momentum
        self._does_look = does_look
        self._layers = layers_of(list(watched.parameters), settings.layers)
        self._values = Values(watched.tasks, list(self._layers), watched.device)

    def __call__(self, step: int, batch: Batch, other: Batch | None, *, is_first: bool) -> Trace:
        """Measure, and hand over an entry of the trace."""
        watched, values = self._watched, self._values
        losses = watched.losses(step, batch)
        other_losses = None if other is None else watched.losses(step, other)
        base, other_base = losses, other_losses
        if self._does_look:
            base = base_losses(batch, self._progress, watched.tasks, is_first=is_first)
            other_base = None if other is None else other.evaluate()
        sketch = self._sketch(batch)
        if sketch is None:
            self._exactly(batch, other)
        else:
            values.layered[:] = sketch.gramian(sketch.products)
            if sketch.along is not None:
                values.momentum(sketch.along)
            if other is not None:
                targets = in_the_same_directions(watched, self._progress, other, sketch)
                values.held_out[:] = sketch.gramian(targets)
            if self._does_look:
                count = self._settings.lookahead_sources(len(watched.tasks))
                self._look(batch, other, self._progress.visit(watched.tasks, count))
        if self._does_look:
            if batch.has_drawn and self._progress.base_is_given:  # it was switched to dropout
                base = batch.evaluate()
            base = watched.ranks.mean_losses(base)
            if other_base is not None:
                other_base = watched.ranks.mean_losses(other_base)
        if batch.missing:
            base[[watched.tasks.index(task) for task in batch.missing]] = torch.nan
        return values.trace(
            step=step,
            losses=base,
            other_losses=other_base,
            learning_rate=self._step_from.learning_rate(),
            directions=0 if sketch is None else sketch.products.shape[1],
            layers=self._layers if self._settings.layers is not None else None,
            parameters=watched.shared,
            has_lookahead=self._does_look,
            takes_own_step=self._settings.step == "optimizer",
            has_momentum=self._momentum is not None,
        )

    def _sketch(self, batch: Batch) -> Sketch | None:
        directions = self._settings.directions(len(self._watched.tasks))
        if not directions or batch.is_apart:
            return None
        return sketched(self._watched, self._progress, batch, directions, self._momentum)

    def _exactly(self, batch: Batch, other: Batch | None) -> None:
        """Gramians, and lookaheads, of the visited sources, as many at once as memory holds."""
        watched, values = self._watched, self._values
        places = watched.places(batch)
        groups = self._groups(places)
        tasks = watched.tasks
        visited = self._progress.visit(tasks, self._settings.sources or len(tasks))
        done: set[str] = set()
        for block in self._blocks(visited):
            sources = watched.gradients(batch, block, places)
            if not sources:
                continue
            rows, held = list(sources), list(sources.values())
            values.gramians(watched.summed(inner_products(held, held, groups)), rows, rows)
            self._along_momentum(sources, groups)
            done.update(block)
            for task in batch.names:
                if task in done:
                    continue
                targets = watched.gradients(batch, [task], places)
                self._along_momentum(targets, groups)
                for target in targets.values():
                    products = watched.summed(inner_products(held, [target], groups))
                    values.gramians(products, rows, [task])
                    values.gramians(products.transpose(1, 2), [task], rows)
            if other is not None:
                self._hold_out(sources, other)
            if self._does_look:
                self._look(batch, other, sources)

    def _along_momentum(
        self, gradients: Mapping[str, Gradient], groups: Sequence[Sequence[int]]
    ) -> None:
        if self._momentum is not None and gradients:
            products = inner_products(
                list(gradients.values()), [list[Tensor | None](self._momentum)], groups
            )
            self._values.momentum(products.sum(0)[:, 0], list(gradients))

    def _hold_out(self, sources: Mapping[str, Gradient], other: Batch) -> None:
        """Inner products with the targets' gradients on the held-out batch."""
        watched = self._watched
        places = watched.places(other)
        held = list(sources.values())
        for task in other.names:
            for target in watched.gradients(other, [task], places).values():
                products = inner_products(held, [target], self._groups(places))
                self._values.held_out_gramian(watched.summed(products).sum(0), list(sources), task)

    def _look(
        self, batch: Batch, other: Batch | None, sources: Mapping[str, Gradient] | Sequence[str]
    ) -> None:
        """Lookaheads along gradients, or along those of tasks that are yet to be taken."""
        watched, shared = self._watched, self._watched.shared
        evaluate = [batch.evaluate] if other is None else [batch.evaluate, other.evaluate]
        with put_back_after(shared) as before:
            step = self._step_from(before)
            for task in sources:
                if isinstance(sources, Mapping):
                    gradient = sources[task]
                else:  # the graph is read at the values that it was made with
                    write(shared, before)
                    gradient = watched.gradients(batch, [task], shared).get(task)
                if gradient is not None:
                    rows = lookahead_losses(evaluate, shared, gradient, step)
                    self._values.lookahead_rows(
                        task, [watched.ranks.mean_losses(row) for row in rows]
                    )

    def _groups(self, places: Sequence[object]) -> list[list[int]]:
        if self._settings.level == "representation":
            return [list(range(len(places)))]
        return list(self._layers.values())

    def _blocks(self, tasks: Sequence[str]) -> Iterator[Sequence[str]]:
        size = len(tasks)
        if self._settings.level != "representation":
            bytes_each = 4 * sum(parameter.numel() for parameter in self._watched.shared)
            size = max(int(self._settings.memory // bytes_each), 1)
        for start in range(0, len(tasks), size):
            yield tasks[start : start + size]


def base_losses(
    batch: Batch, progress: Progress, tasks: Sequence[str], *, is_first: bool
) -> Float[Tensor, " task"]:
    """Losses before the step, with the dropout masks of the lookahead.

    At the first measurement, the closure is checked against the losses that it is given with.

    Raises:
        InputError: If it draws no random numbers and gives other values.
    """
    if progress.base_is_given or batch.is_apart:
        return batch.values()
    base = batch.evaluate()
    if not is_first or batch.has_drawn:
        return base
    given = batch.values()
    progress.base_is_given = torch.equal(base.nan_to_num(), given.nan_to_num())
    for task, first, second in zip(tasks, given.tolist(), base.tolist(), strict=True):
        if abs(first - second) > 0.02 * max(abs(first), abs(second)) + 1e-6:
            raise InputError(
                f"Expected the closure to evaluate the same losses on the same batch, but for "
                f"the task {task!r} it gives {second:.6g} where observe was given "
                f"{first:.6g}. Pass the losses unweighted and undivided, and let the closure "
                "use the batch that they were made from, in the same train/eval mode."
            )
    return base
