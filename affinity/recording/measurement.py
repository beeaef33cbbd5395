"""Measurement: gradients of a batch, their inner products, and lookahead losses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from affinity.errors import InputError

from .batch import Batch
from .gradients import Gradient, Gradients, as_real
from .lookahead import (
    USUAL_RATE,
    GradientStep,
    OptimizerStep,
    lookahead_losses,
    restore_parameters,
    step_size,
    write_values,
)
from .momentum import Momentum, carried_momentum
from .observation_buffer import ObservationBuffer
from .precision import MARGIN, below_precision
from .recorder_state import RecorderState
from .settings import Settings
from .shared_part import SharedPart
from .sketch import Sketch, held_out_products, sketch_gradients
from .task_round import TaskRound
from .trace import Trace

MOST_TRIES = 2  # a measurement may begin just before a step, but not twice in a row


class Measurement:
    """Measure a batch, then perhaps a held-out one for the targets, then ask for `trace`."""

    def __init__(
        self,
        part: SharedPart,
        settings: Settings,
        state: RecorderState,
        optimizer: Optimizer | None,
        *,
        looks_ahead: bool,
    ) -> None:
        self._part = part
        self._settings = settings
        self._state = state
        self._optimizer = optimizer
        self._looks_ahead = looks_ahead
        at_parameters = settings.level != "representation"
        parameters = list(part.parameters.values())
        rate = step_size(settings.learning_rate, optimizer, parameters if at_parameters else [])
        if rate is None:
            rate = USUAL_RATE
            state.warn_once(
                f"The optimizer {type(optimizer).__name__} has no learning rate of its own (lr): "
                f"the lookahead makes steps with {rate:g}. Pass Recorder(learning_rate=...) for "
                "another one.",
                "no-learning-rate",
            )
        self._rate = rate
        self._momentum: Momentum | None = None
        if settings.gramians and at_parameters and optimizer is not None:
            self._momentum = carried_momentum(optimizer, parameters)
        self._buffer = ObservationBuffer(
            part.tasks, part.layers, part.device, part.dtype, part.wide
        )
        self._sketch: Sketch | None = None
        self._sources: dict[str, Gradient] = {}  # kept for the next micro-batch

    def measure(
        self,
        step: int,
        batch: Batch,
        held_out: Batch | None,
        task_round: TaskRound | None,
        *,
        is_first: bool,
    ) -> None:
        """Measure a batch, and the held-out one where there is one already.

        If `settings` holds out a micro-batch, the sources' gradients are kept for `hold_out`. In a
        round, the batch is also measured against the gradients of the batches before.
        """
        part, buffer = self._part, self._buffer
        buffer.step, buffer.learning_rate = step, self._rate
        losses = batch.finite_values(step, part.ranks)
        if self._looks_ahead:
            losses = batch.baseline_losses(part.ranks, is_first=is_first)
        if held_out is not None:
            self._measure_held_out_losses(held_out)
        directions = self._settings.directions(len(part.tasks))
        if task_round is not None:
            self._measure_round(batch, held_out, task_round)
        elif directions and not batch.is_apart:
            self._sketch = sketch_gradients(part, self._state, batch, directions, self._momentum)
        if self._sketch is not None:
            buffer.layer_gramians[:] = self._sketch.gramian(self._sketch.products)
            buffer.directions = directions
            if self._sketch.momentum_products is not None:
                buffer.momentum_products[:] = self._sketch.momentum_products
            if held_out is not None:
                self._measure_held_out_sketch(held_out, self._sketch)
        elif self._settings.gramians and task_round is None:
            self._measure_exactly(batch, held_out)
        needs_sources = self._sketch is not None or not self._settings.gramians
        if self._looks_ahead and needs_sources and task_round is None:
            count = self._settings.lookahead_sources(len(part.tasks))
            self._look_ahead(batch, held_out, self._state.next_sources(part.tasks, count))
        if self._looks_ahead and batch.has_drawn and self._state.is_closure_exact:
            losses = batch.evaluate()  # dropout was switched on since the first measurement
        if batch.missing:
            losses[self._places(batch.missing)] = torch.nan
        buffer.losses = part.ranks.mean_losses(losses)

    def hold_out(self, batch: Batch) -> None:
        """Measure the targets on a batch that comes after the sources' own."""
        self._measure_held_out_losses(batch)
        if self._sketch is not None:
            self._measure_held_out_sketch(batch, self._sketch)
        elif self._settings.gramians and self._sources:
            self._measure_held_out_products(Gradients(self._sources), batch)
        if self._looks_ahead and batch.can_evaluate:
            self._look_ahead(None, batch, self._sources)
        self._sources = {}

    def trace(self) -> Trace:
        """The measurement as a trace with one entry of time."""
        if self._looks_ahead:
            ranks, buffer = self._part.ranks, self._buffer
            buffer.lookahead_losses = ranks.mean_losses(buffer.lookahead_losses)
            self._replace_lost_lookaheads()
        part = self._part
        has_layers = self._settings.layers is not None
        return self._buffer.trace(
            self._settings,
            part.squared_norms([1.0] * len(part.parameters)).sqrt() if has_layers else None,
            has_momentum=self._momentum is not None,
            has_lookahead=self._looks_ahead,
        )

    def _replace_lost_lookaheads(self) -> None:
        """Replace lookahead losses that are lost in rounding by their first-order prediction.

        Without Gramians, or with the optimizer's step, there is no prediction: they are missing.
        """
        part, buffer, rate = self._part, self._buffer, self._rate
        products = buffer.layer_gramians.sum(0)
        can_predict = self._settings.gramians and self._settings.step == "gradient"
        parameter_error = part.parameter_error() if can_predict else 0.0
        predictions = buffer.lookahead_losses.cpu().double()
        total = 0
        batches = ((buffer.losses, products), (buffer.held_out_losses, buffer.held_out_gramian))
        for after, (losses, between) in zip(predictions, batches, strict=True):
            if losses is None:
                continue
            losses = losses.cpu()
            if can_predict:
                lost = below_precision(
                    losses, products.cpu(), rate, part.rounding_error, parameter_error
                )
                _refuse_unchanged(losses, after, lost)
                prediction = losses.double() - rate * between.cpu().double()
            else:
                own = (losses - after.diagonal()).abs()
                lost = (own < MARGIN * part.rounding_error * losses.abs())[:, None].expand_as(after)
                prediction = torch.full_like(after, torch.nan)
            measured = ~after.isnan()
            lost = lost & measured
            after[lost] = prediction[lost]
            total += int(lost.sum())
            if 2 * int(lost.sum()) > int(measured.sum()):
                self._warn_of_precision(can_predict=can_predict)
        if total:
            buffer.predictions = predictions

    def _warn_of_precision(self, *, can_predict: bool) -> None:
        what = (
            "Their first-order prediction from the Gramian is recorded instead."
            if can_predict
            else 'They are recorded as missing: record Gramians with step="gradient", which allow '
            "a first-order prediction."
        )
        self._state.warn_once(
            "Most lookahead losses are lost in rounding: the step, with a learning rate of "
            f"{self._rate:g}, changes a loss by less than {MARGIN} times its rounding error "
            f"({self._part.rounding_error:.1g} of the loss). {what}",
            "lookahead-below-precision",
        )

    def _places(self, tasks: Iterator[str] | Mapping[str, Gradient] | set[str]) -> Tensor:
        return torch.tensor([self._part.tasks.index(task) for task in tasks], device="cpu")

    def _measure_held_out_losses(self, batch: Batch) -> None:
        losses = batch.finite_values(self._buffer.step, self._part.ranks)
        if self._looks_ahead and batch.can_evaluate:
            losses = batch.evaluate()
        self._buffer.held_out_losses = self._part.ranks.mean_losses(losses)

    def _measure_held_out_sketch(self, batch: Batch, sketch: Sketch) -> None:
        products = held_out_products(self._part, self._state, batch, sketch)
        self._buffer.held_out_gramian[:] = sketch.gramian(products)

    def _measure_exactly(self, batch: Batch, held_out: Batch | None) -> None:
        """Gramians, and lookaheads, of as many sources at once as memory allows."""
        part, buffer = self._part, self._buffer
        if self._measure_factors(batch, held_out):
            return
        tasks = self._state.next_sources(part.tasks, self._settings.sources or len(part.tasks))
        done: set[str] = set()
        for block in self._blocks(tasks):
            sources = part.gradients(batch, block)
            if not sources.by_task:
                continue
            rows = self._places(sources.by_task)
            self._measure_sources(sources)
            done.update(block)
            for task in [task for task in batch.names if task not in done]:
                target = part.gradients(batch, [task])
                if target.by_task:
                    self._measure_momentum(target)
                    products, column = self._products(sources, target), part.tasks.index(task)
                    buffer.layer_gramians[:, rows, column] = products[:, :, 0]
                    buffer.layer_gramians[:, column, rows] = products[:, :, 0]
            if held_out is not None:
                self._measure_held_out_products(sources, held_out)
            if self._looks_ahead:
                self._look_ahead(batch, held_out, sources.by_task)
            if self._settings.held_out is not None:
                self._sources = sources.by_task

    def _measure_round(self, batch: Batch, held_out: Batch | None, task_round: TaskRound) -> None:
        """Measure a batch, and pairs of its tasks with those of the batches before."""
        part, gramians = self._part, self._buffer.layer_gramians
        present = part.gradients(batch, part.tasks)
        if not present.by_task:
            return
        sources = Gradients({**task_round.kept, **present.by_task})
        rows, columns = self._places(sources.by_task), self._places(present.by_task)
        products = self._products(sources, present)
        gramians[:, rows[:, None], columns] = products
        gramians[:, columns[:, None], rows] = products.transpose(1, 2)
        for task in sources.by_task.keys() - present.by_task.keys():
            one, place = Gradients({task: sources.by_task[task]}), part.tasks.index(task)
            gramians[:, place, place] = self._products(one, one)[:, 0, 0]
        self._measure_momentum(present)
        if held_out is not None:
            self._measure_held_out_products(sources, held_out)
        if self._looks_ahead:
            self._look_ahead(batch, held_out, sources.by_task)
        task_round.add(present.by_task)
        most = max(int(self._settings.memory // self._bytes_per_task()), 1)
        for task in list(task_round.kept)[:-most]:
            del task_round.kept[task]

    def _bytes_per_task(self) -> int:
        return 4 * sum(tensor.numel() for tensor in self._part.tensors)

    def _measure_factors(self, batch: Batch, held_out: Batch | None) -> bool:
        """Measure with factored gradients, if there is one batch and they are cheaper."""
        settings, state = self._settings, self._state
        if held_out is not None or settings.held_out is not None or settings.sources is not None:
            return False
        if not state.has_factors:
            return False
        factored = self._part.factored_gradients(
            batch, settings.memory, needs_gradients=self._looks_ahead
        )
        if not self._looks_ahead:
            state.has_factors = factored is not None
        if factored is not None and factored.gradients.by_task:
            rows = self._places(factored.gradients.by_task)
            wide = self._part.wide
            layers = list(self._buffer.layers.values())
            products = factored.inner_products(layers, self._part.dtype)
            self._warn_of_gradients(factored.gradients, products)
            self._buffer.layer_gramians[:, rows[:, None], rows] = products.to(wide)
            if self._momentum is not None:
                products = factored.products_with(self._momentum.buffers)
                self._buffer.momentum_products[rows] = self._momentum.factor * products.to(wide)
            if self._looks_ahead:
                self._look_ahead(batch, None, factored.whole())
        return factored is not None

    def _products(self, sources: Gradients, targets: Gradients) -> Tensor:
        """The inner products by layer; what is not finite is missing, with a warning."""
        products = self._part.products(sources, targets)
        if sources is targets:
            self._warn_of_gradients(sources, products)
        return products

    def _warn_of_gradients(self, gradients: Gradients, products: Tensor) -> None:
        norms = products.diagonal(dim1=1, dim2=2).sum(0)
        for task, is_finite in zip(gradients.by_task, norms.isfinite().tolist(), strict=True):
            if task and not is_finite:
                self._state.warn_once(
                    f"The gradient of the task {task!r} is NaN or infinite at step "
                    f"{self._buffer.step}, though its loss is finite; the task is recorded as "
                    "missing at such steps. Check the loss for a square root or a norm of 0, a "
                    "logarithm of 0, or a division by 0, and for numbers too large for its type.",
                    "gradient-not-finite",
                    task,
                )

    def _measure_sources(self, sources: Gradients) -> None:
        """Measure the Gramian of these tasks, and their products with the momentum."""
        rows, momentum = self._places(sources.by_task)[:, None], self._momentum
        is_sparse = any(
            part is not None and part.is_sparse for g in sources.by_task.values() for part in g
        )
        if momentum is None or is_sparse:
            self._buffer.layer_gramians[:, rows, rows.T] = self._products(sources, sources)
            self._measure_momentum(sources)
            return
        together = Gradients({**sources.by_task, "": momentum.buffers})  # each is read once
        products = self._products(together, together)
        self._buffer.layer_gramians[:, rows, rows.T] = products[:, :-1, :-1]
        along = momentum.factor * products[:, :-1, -1].sum(0)
        self._buffer.momentum_products[rows[:, 0]] = along

    def _measure_momentum(self, gradients: Gradients) -> None:
        if self._momentum is not None:
            momentum = Gradients({"momentum": self._momentum.buffers})
            products = self._momentum.factor * self._products(gradients, momentum).sum(0)[:, 0]
            self._buffer.momentum_products[self._places(gradients.by_task)] = products

    def _measure_held_out_products(self, sources: Gradients, held_out: Batch) -> None:
        """Inner products with the targets' gradients on the held-out batch."""
        rows = self._places(sources.by_task)
        for task in held_out.names:
            target = self._part.gradients(held_out, [task])
            if target.by_task:
                products = self._products(sources, target).sum(0)[:, 0]
                self._buffer.held_out_gramian[rows, self._part.tasks.index(task)] = products

    def _look_ahead(
        self,
        batch: Batch | None,
        held_out: Batch | None,
        sources: Mapping[str, Iterable[Tensor | None]] | Sequence[str],
    ) -> None:
        """Measure lookaheads along given gradients, or along those of the given tasks."""
        part, lookahead = self._part, self._buffer.lookahead_losses
        batches = {i: b for i, b in enumerate((batch, held_out)) if b is not None}
        tensors = part.tensors
        for each in batches.values():
            each.restore()
        with restore_parameters(tensors) as before:
            if self._settings.step == "optimizer":
                assert self._optimizer is not None
                step = OptimizerStep(self._optimizer, before)
            else:
                step = GradientStep(self._rate, before)
            for task in sources:
                if isinstance(sources, Mapping):
                    gradient = sources[task]
                else:  # backward passes need the values with which the graph was built
                    assert batch is not None
                    write_values(tensors, before)
                    gradient = part.gradient(batch, task)
                    batch.restore()
                    if gradient is not None and self._settings.held_out is not None:
                        self._sources[task] = gradient
                if gradient is None:
                    continue
                evaluations = [batch.evaluate for batch in batches.values()]
                losses = lookahead_losses(evaluations, tensors, gradient, step)
                for which, row in zip(batches, losses, strict=True):
                    lookahead[which, part.tasks.index(task)] = row
                del gradient  # before the next one is formed

    def _blocks(self, tasks: Sequence[str]) -> Iterator[Sequence[str]]:
        size = len(tasks)
        if self._settings.level != "representation":
            bytes_per_task = self._bytes_per_task()
            size = max(int(self._settings.memory // bytes_per_task), 1)
            if self._settings.held_out is not None and size < len(tasks):
                raise InputError(
                    f"Expected memory for the gradients of {len(tasks)} tasks until the next "
                    f"micro-batch, but memory={self._settings.memory:.0f} is enough for {size}: "
                    f"pass memory={bytes_per_task * len(tasks)}, or sources={size} to visit fewer "
                    "sources at a time.",
                    "memory-too-small",
                )
        for start in range(0, len(tasks), size):
            yield tasks[start : start + size]


def _refuse_unchanged(losses: Tensor, after: Tensor, lost: Tensor) -> None:
    """Raise an error if no loss changes at all by steps that are far above rounding."""
    is_same = (after == losses) | after.isnan()
    own = after.diagonal().isfinite() & ~lost.diagonal()
    if own.any() and is_same.all():
        raise InputError(
            "Expected a closure that computes the losses again, but after a step of the shared "
            "parameters it returns exactly the same ones: it uses what was computed before, such "
            "as the losses or the shared part's output, or a cache. Compute everything from the "
            "inputs inside of it. If the shared part is quantized, record without a closure.",
            "unchanged-losses",
        )


class PendingHoldout:
    """A measurement whose sources are measured; the next micro-batch will measure its targets."""

    def __init__(self, measurement: Measurement, part: SharedPart) -> None:
        self.measurement = measurement
        self._part = part
        self._sums = self._parameter_sums()

    def is_trained(self) -> bool:
        """Whether none of the parameters was frozen since."""
        return all(parameter.requires_grad for parameter in self._part.parameters.values())

    def finish(self, batch: Batch, begun: int) -> bool:
        """Measure targets on the next micro-batch; False if the optimizer made a step in between.

        `begun` counts the measurements, with this one, begun since one was finished: an error if
        the optimizer makes a step after every micro-batch.
        """
        if torch.equal(self._sums, self._parameter_sums()):
            self.measurement.hold_out(batch)
            return True
        if begun >= MOST_TRIES:
            raise InputError(
                "Expected at least two micro-batches before each step of the optimizer for "
                'Recorder(held_out="micro-batch"), but the shared parameters change after every '
                "observation. Observe every micro-batch, or pass a closure that evaluates another "
                "batch: recorder.observe(losses, held_out=...).",
                "no-accumulation",
            )
        return False

    def _parameter_sums(self) -> Tensor:
        tensors, wide = self._part.tensors, self._part.wide
        sums = [as_real(tensor.detach()).to(wide).sum() for tensor in tensors]
        return self._part.total(torch.stack(sums))
