"""Recorder: measures per-task gradients before `backward()` without changing the run."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import check_names
from affinity.words import shorten

from .batch import Batch, Closure, TaskLosses, check_losses, without_effects
from .by_task import TaskLabels, losses_by_task
from .lookahead import plain
from .measurement import Measurement, PendingHoldout
from .precision import recorded_type
from .preserve_state import preserve_state, retained_gradients
from .ranks import Ranks
from .recorder_state import RecorderState, SearchState
from .schedule import RecordingCost, Schedule, Timing
from .settings import HeldOut, Level, Settings, StepKind
from .shards import check_shards
from .shared_parameters import Shared, module_to_watch, refuse_lazy, unwrapped
from .shared_part import SharedPart
from .shared_search import SharedSearch
from .summary import RecordingSummary, numbers_by_module
from .trace import Trace, concatenate_traces

EXPLAIN_MISSING_PAIRS = {
    "gradient-not-finite",
    "lookahead-below-precision",
    "no-representation",
    "unreached-shared-part",
}
"""Codes of warnings after which nobody has to be told why no pair was measured."""


class Recorder:
    """Record per-task gradients and lookahead losses of a training run without changing the run.

    Call `observe` with the tasks' losses before the run's own ``backward()``. Parameters,
    gradients, optimizer state, buffers and random states stay bit for bit as they are.

    A measurement costs about one backward pass per task; with many tasks, the Gramian is sketched
    at the cost of a few passes over all. With a closure, some measurements also look ahead: one
    forward pass per source.

    Args:
        model: The whole network. Without it, `shared` is the shared module or parameters, and
            the buffers of other modules are preserved from when they are called.
        shared: What the tasks share: a submodule, names, a pattern, parameters, or None for the
            parameters that at least two losses reach.
        tasks: Names of the tasks, if the first observation does not contain all of them.
        every: Number of observations from one measurement to the next.
        after: The first observation that is measured.
        until: The first observation that is no longer measured.
        overhead: Instead of `every`: the time of all measurements relative to the run's own.
            The first measurement is made immediately; the next waits until the run has caught up.
        level: Where gradients are taken: all shared parameters; those of the last shared layer;
            or the representation, the shared part's output, which needs no backward pass through
            the trunk (and has no lookahead).
        layers: Also record one Gramian per layer: the number of leading parts of a module's name
            that identify a layer, or the names of modules.
        lookahead_every: Of the measurements with a closure, every how many look ahead; 1 for
            estimators that use lookahead losses, such as inter-task affinity.
        step: The lookahead's step: ``"gradient"``, plain, as in the TAG paper, or ``"optimizer"``,
            the one that `optimizer` would take on that task's gradient alone.
        learning_rate: Of the plain step. Without it, the current one above 0 of the first group of
            `optimizer` with a shared parameter; without `optimizer`, 0.001.
        optimizer: The run's optimizer; with it, inner products of the tasks' gradients with its
            momentum are recorded, too.
        sources: Number of sources per measurement, in turn: rows of the others are missing (NaN).
            Without it, all; among many tasks, 8 per lookahead.
        sketch: Random directions of the Gramian's sketch, 0 for an exact one. ``"auto"``: 8 with
            more than 12 tasks.
        memory: Bytes of gradients stored at the same time. If those of all tasks do not fit, an
            exact Gramian is computed in blocks of sources, with more backward passes.
        gramians: Whether to record inner products; without them, every measurement looks ahead,
            and only one gradient is stored at a time.
        held_out: ``"micro-batch"``: in a loop that accumulates gradients, measure targets on the
            next micro-batch, before the optimizer's step. The sources' gradients are stored until
            then. In other loops, pass a closure to `observe`.
        timeout: In a distributed run, the seconds to wait for a rank that does not observe.
        seed: Of the sketch's directions.

    Example:
        >>> model = nn.ModuleDict({"trunk": nn.Linear(2, 2), "a": nn.Linear(2, 1),
        ...                        "b": nn.Linear(2, 1)})
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> recorder = Recorder(model, shared="trunk", every=2, optimizer=optimizer)
        >>> inputs = torch.ones(4, 2)
        >>> def losses():
        ...     return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}
        >>> for _ in range(4):
        ...     now = losses()
        ...     recorder.observe(now, closure=losses)  # the only line added
        ...     sum(now.values()).backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        >>> trace = recorder.trace()
        >>> trace.tasks, trace.steps.tolist(), tuple(trace.gramians.shape)
        (('a', 'b'), [0, 2], (2, 2, 2))
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        shared: Shared = None,
        *,
        tasks: Iterable[str] | None = None,
        every: int = 10,
        after: int = 0,
        until: int | None = None,
        overhead: float | None = None,
        level: Level = "parameters",
        layers: int | Sequence[str] | None = None,
        lookahead_every: int = 10,
        step: StepKind = "gradient",
        learning_rate: float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        sources: int | None = None,
        sketch: int | Literal["auto"] = "auto",
        memory: int = 10**9,
        gramians: bool = True,
        held_out: HeldOut = None,
        timeout: float = 600.0,
        seed: int = 0,
    ) -> None:
        if step == "optimizer" and optimizer is None:
            raise InputError(
                'Expected optimizer=... for step="optimizer", but got none.', "missing-optimizer"
            )
        self.optimizer = optimizer
        self._settings = Settings(
            level,
            layers,
            lookahead_every,
            step,
            learning_rate,
            sources,
            sketch,
            memory,
            gramians,
            held_out,
        )
        if isinstance(shared, Iterator):  # it is read more than once
            shared = list(shared)
        self._model = module_to_watch(model, shared)
        self._own_model = unwrapped(self._model)
        self._dtype = torch.float32  # in which losses are recorded
        self._is_sharded = check_shards(self._model, self._settings)
        if self._is_sharded:
            self._settings = replace(self._settings, sketch=0)
        self._is_whole = model is not None
        self._shared = shared
        self._schedule = Schedule(every, after, until, overhead)
        self._ranks = Ranks(timeout)
        self._state = RecorderState(
            random_state=torch.Generator().manual_seed(seed).get_state(),
            tasks=None if tasks is None else check_names(tasks),
            timing=Timing(next_check=after),
        )
        self._search = SharedSearch(self._model, shared, self._settings)
        self._part: SharedPart | None = None
        self._pending: PendingHoldout | None = None
        self._is_checked = False
        self._moving: list[nn.Parameter] = []  # parameters that forward passes may change
        self._moved: set[int] = set()  # ids of those that they changed
        self._is_observing = False
        self._has_retained = True  # tensors that keep their gradient
        self._observe_uncompiled: Any = torch.compiler.disable(self._observe)

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The run's optimizer; it may be set later."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer | None) -> None:
        self._optimizer = plain(optimizer)

    def is_due(self) -> bool:
        """Whether the next observation may be measured, for runs that compute losses only then."""
        state = self._state
        is_scheduled = self._schedule.is_due(state.step, state.timing)
        return is_scheduled or state.begun > 0 or state.round is not None

    @property
    def is_observing(self) -> bool:
        """Whether `observe` is running: hooks that count calls can ignore the recorder's."""
        return self._is_observing

    def observe(
        self,
        losses: TaskLosses | Tensor,
        closure: Closure | Callable[[], Tensor] | None = None,
        held_out: Closure | Callable[[], Tensor] | None = None,
        *,
        task: TaskLabels | None = None,
    ) -> None:
        """Observe one step of the run; call before the run's own backward pass.

        Args:
            losses: Loss of each task that is present in this step, with its graph; not yet
                weighted, scaled or divided by accumulation steps. If each task has batches of its
                own, one function per task that evaluates its loss; it is called when needed.
            closure: Evaluates the same losses again, on the same batch; needed for the lookahead.
            held_out: Evaluates the losses on another batch: then inner products of gradients on
                this batch with gradients on the other are recorded, and lookahead losses there.
            task: Where batches belong to one task each, or each row to one: the task of the batch,
                or of each row, by its name or its position in ``tasks``. `losses` is then the loss
                of the batch, or one loss per row, and functions return the same. Pairs of tasks
                that no batch holds are measured across consecutive steps.

        Raises:
            InputError: If a loss is no scalar or has no graph, if a task is new, or if a closure
                does not return the same losses.
        """
        if task is None:
            self._observe_uncompiled(
                cast("TaskLosses", losses),
                cast("Closure | None", closure),
                cast("Closure | None", held_out),
            )
        else:
            self._observe_uncompiled(*self._by_task(losses, closure, held_out, task))

    def _observe(
        self, losses: TaskLosses, closure: Closure | None, held_out: Closure | None
    ) -> None:
        state, is_due = self._state, self.is_due()
        step = state.step
        state.step += 1
        if not is_due:
            return
        check_losses(losses, state.tasks, self._model)
        with torch.inference_mode(mode=False), torch.enable_grad():
            self._observe_now(step, losses, closure, held_out)

    def _observe_now(
        self, step: int, losses: TaskLosses, closure: Closure | None, held_out: Closure | None
    ) -> None:
        """Measure a step that is due, if it fits into the allowed overhead."""
        state = self._state
        state.tasks = state.tasks or check_names(losses)
        device = next(self._model.parameters(), torch.zeros(())).device
        if self._part is None:  # not before: a trainer may have changed the model's type
            self._dtype = recorded_type(self._model.parameters())
            refuse_lazy(self._model)
        started = _now(device)
        self._ranks.synchronize(step)
        is_new = not state.begun and state.round is None
        if self._schedule.overhead is not None and is_new:
            plain = self._ranks.largest(state.timing.cost().plain_seconds, device)
            if not self._schedule.fits(step, state.timing, plain):
                return
        self._is_observing = True
        try:
            functions = [closure, held_out, *(loss for loss in losses.values() if callable(loss))]
            with without_effects(self._model), self._retained():
                first = self._check_closure(state.tasks, losses, closure, functions)
                with self._preserve(functions, self._moving) as restore:
                    arguments = (restore, self._model, state, self._dtype)
                    batch = Batch(state.tasks, losses, closure, *arguments, first)
                    other = self._held_out_batch(state.tasks, held_out, restore)
                    self._measure(step, state.tasks, batch, other)
            self._moving = [p for p in self._moving if id(p) in self._moved]
        finally:
            self._is_observing = False
        state.finish_round()
        seconds = self._ranks.largest(_now(device) - started, device)
        state.timing.add(seconds, is_finished=not state.begun and state.round is None)

    def _by_task(
        self,
        loss: TaskLosses | Tensor,
        closure: Closure | Callable[[], Tensor] | None,
        held_out: Closure | Callable[[], Tensor] | None,
        labels: TaskLabels,
    ) -> tuple[TaskLosses, Closure | None, Closure | None]:
        """The losses of a batch with labels, and the functions that evaluate them, by task."""
        tasks = self._state.tasks

        def split(loss: object) -> dict[str, Tensor]:
            return losses_by_task(loss, labels, tasks)

        def split_later(function: Callable[[], object] | None) -> Closure | None:
            return None if function is None else lambda: split(function())

        return split(loss), split_later(closure), split_later(held_out)

    def trace(self) -> Trace:
        """What was recorded so far.

        Raises:
            InputError: If nothing was recorded.
        """
        if not self._state.measurements:
            raise InputError(
                "Expected at least one measurement, but nothing was recorded: call "
                "recorder.observe(losses) before backward() in the training loop, while some of "
                "what the tasks share is trained.",
                "nothing-recorded",
            )
        trace = self._joined()
        pairs = ~torch.eye(len(trace.tasks), dtype=torch.bool)
        measured = trace.gramians if trace.gramians is not None else trace.lookahead_losses
        codes = {code for _, code in self._state.warned}
        self._state.warned.discard(("", "no-pairs"))  # say it at every call while it holds
        is_explained = len(trace.tasks) == 1 or not codes.isdisjoint(EXPLAIN_MISSING_PAIRS)
        if measured is not None and measured[:, pairs].isnan().all() and not is_explained:
            self._state.warn_once(
                f"No pair of the tasks {trace.tasks} was measured, since no two of them were met "
                "within one measurement. Name all tasks in Recorder(tasks=[...]) and call observe "
                "at every step (not at the representation): then batches of one task each are "
                "measured against those of the steps before.",
                "no-pairs",
            )
        return replace(trace, recording=self._summary())

    def _joined(self) -> Trace:
        """The measurements in one part."""
        self._state.measurements = [concatenate_traces(self._state.measurements)]
        return self._state.measurements[0]

    @property
    def cost(self) -> RecordingCost:
        """What recording has cost so far."""
        return self._state.timing.cost()

    def describe(self) -> str:
        """What is recorded and how, which part is shared, and what recording cost."""
        if self._part is None:
            return "Nothing was observed yet."
        settings, cost, summary = self._settings, self.cost, self._summary()
        assert summary is not None
        tasks, parameters = self._part.tasks, self._part.parameters
        how = "reached by at least two losses" if self._shared is None else "as named"
        shared = (
            f"Shared, {how}: {sum(summary.shared.values()):,} numbers in {len(parameters)} "
            f"parameters of {shorten(summary.shared)}."
            if parameters
            else "Shared: the representation from which the losses are computed."
        )
        private = (
            f"Private: {sum(summary.private.values()):,} trained numbers of "
            f"{shorten(summary.private)}.\n"
            if summary.private
            else ""
        )
        every = settings.lookahead_every if settings.gramians else 1
        return (
            f"{len(tasks)} tasks: {', '.join(tasks)}.\n"
            f"{shared}\n{private}"
            f"Gradients at the level of the {settings.level}; Gramians "
            f"{self._describe_gramians(len(tasks))}.\n"
            f"Lookahead at every {'' if every == 1 else f'{every}. '}measurement with a closure, "
            f"{settings.lookahead_sources(len(tasks))} of {len(tasks)} sources each, with the "
            f"{settings.step} step.\n"
            f"{cost.measurements} measurements took {cost.seconds:.2f} s, "
            f"{100 * cost.overhead:.1f} % of the run's own {cost.plain_seconds:.2f} s."
            + "".join(f"\n{note}" for note in summary.notes)
        )

    def state_dict(self) -> dict[str, Tensor | str]:
        """All that a resumed run needs, for the run's own checkpoint: tensors, and a JSON text."""
        if self._state.measurements:
            self._joined()
        timing = self._state.timing
        timing = replace(timing, elapsed=timing.seconds())
        search, named = self._search.state, self._search.named
        state = replace(self._state, timing=timing, search=search, named=named)
        if self._is_sharded:  # leave out what differs from rank to rank: it is measured again
            state = replace(state, round=None, search=SearchState(state.search.shared))
        return state.pack()

    def load_state_dict(self, state: Mapping[str, Tensor | str]) -> None:
        """Continue recording from where `state_dict` was called.

        Raises:
            InputError: If it is no state of a recorder, or one of other tasks or parameters, or of
                another version.
        """
        loaded, tasks = RecorderState.unpack(state), self._state.tasks
        if tasks is not None and loaded.tasks is not None and tasks != loaded.tasks:
            raise InputError(
                f"Expected the state of a recorder of the tasks {tasks}, but got {loaded.tasks}.",
                "different-tasks",
            )
        if others := sorted(set(loaded.named) ^ set(self._search.named)) if loaded.named else []:
            raise InputError(
                f"Expected the shared parameters that were recorded before, but these differ: "
                f"{others[:5]}. Resume with the same adapters and names, or start a new recording.",
                "different-parameters",
            )
        self._state = replace(loaded, tasks=loaded.tasks or tasks)
        self._search.state = loaded.search
        if loaded.round is not None:
            device = next(self._model.parameters(), torch.zeros(())).device
            for gradient in loaded.round.kept.values():
                gradient[:] = [None if part is None else part.to(device) for part in gradient]

    def _measure(
        self, step: int, tasks: tuple[str, ...], batch: Batch, other: Batch | None
    ) -> None:
        state, pending, self._pending = self._state, self._pending, None
        if pending is not None and not pending.is_trained():
            pending, state.begun = None, 0
        if pending is not None and pending.finish(batch, state.begun):
            state.measurements.append(pending.measurement.trace())
            state.begun = 0
            return
        settings = self._settings
        if not settings.gramians and not batch.can_evaluate and self._part is None:
            raise InputError(
                "Expected a closure, since without Gramians only lookaheads are recorded: "
                "recorder.observe(losses, closure=...).",
                "missing-closure",
            )
        batch.count_ranks(self._ranks)
        present = [task for task, count in zip(tasks, batch.ranks_with, strict=True) if count]
        can_wait = settings.level != "representation" and settings.held_out is None
        if state.round is None and can_wait and present:
            state.begin_round(present)
        part = self._search.find(tasks, batch, self._ranks)
        if part is not None and self._part is None:
            part.check_ranks()
            part.warn_of_hooks(evaluates=batch.can_evaluate or other is not None)
        is_other = None not in (part, self._part) and part is not self._part
        self._part = part or self._part
        if part is None or not present:
            return
        if state.round is not None and (
            is_other or state.round.parameters != tuple(part.parameters)
        ):
            state.round.kept.clear()  # gradients at other parameters
            state.round.parameters = tuple(part.parameters)
        is_useful = state.round is None or state.round.gains(present)
        if not is_useful and not self._schedule.is_due(step, state.timing):
            return
        measurement = Measurement(
            part, settings, state, self.optimizer, looks_ahead=self._looks_ahead(batch)
        )
        measurement.measure(step, batch, other, state.round, is_first=not state.measurements)
        if settings.held_out is None:
            state.measurements.append(measurement.trace())
        else:
            state.begun += 1
            self._pending = PendingHoldout(measurement, part)

    @contextmanager
    def _retained(self) -> Generator[None]:
        """Put gradients back that tensors keep, if there are some at first."""
        kept = retained_gradients() if self._has_retained else []
        self._has_retained = bool(kept)
        yield
        for tensor, gradient in kept:
            tensor.grad = gradient

    def _preserve(
        self, functions: Sequence[object], parameters: Iterable[Tensor]
    ) -> AbstractContextManager[Callable[[], bool]]:
        return preserve_state(
            self._own_model,
            and_called=not self._is_whole,
            functions=functions,
            parameters=parameters,
            moved=self._moved,
            is_sharded=self._is_sharded,
        )

    def _check_closure(
        self,
        tasks: tuple[str, ...],
        losses: TaskLosses,
        closure: Closure | None,
        functions: Sequence[object],
    ) -> Tensor | None:
        """The losses of the closure's first evaluation, which must only evaluate losses.

        Some modules change their own parameters in forward passes (``Embedding(max_norm=1)``);
        these are preserved from now on.
        """
        can_evaluate = closure is not None or any(callable(loss) for loss in losses.values())
        if self._is_checked or not can_evaluate or not self._settings.looks_ahead(0):
            return None
        parameters = list(self._own_model.parameters())
        versions = [_gradient_version(parameter) for parameter in parameters]
        with self._preserve(functions, parameters) as restore:
            batch = Batch(tasks, losses, closure, restore, self._model, self._state, self._dtype)
            if not batch.names:
                return None
            evaluated = batch.evaluate()
            now = [_gradient_version(parameter) for parameter in parameters]
        self._is_checked = True
        if versions != now:
            raise InputError(
                "Expected a closure that evaluates the losses and changes nothing, but it changes "
                "gradients: leave zero_grad, backward and step out of it.",
                "closure-with-effects",
            )
        # a target network may not move before what it follows does: watch it while looking ahead
        self._moving = [p for p in parameters if id(p) in self._moved or not p.requires_grad]
        return evaluated

    def _looks_ahead(self, batch: Batch) -> bool:
        number = len(self._state.timing.costs)  # of measurements; those of a round count once
        return batch.can_evaluate and self._settings.looks_ahead(number)

    def _held_out_batch(
        self, tasks: tuple[str, ...], closure: Closure | None, restore: Callable[[], bool]
    ) -> Batch | None:
        if closure is None:
            return None
        if self._settings.level == "representation" or self._settings.held_out is not None:
            raise InputError(
                "Expected held_out=... of observe with gradients on parameters and without "
                'Recorder(held_out=...): omit it, or level="representation", or the other.',
                "conflicting-settings",
            )
        return Batch.from_closure(tasks, closure, restore, self._model, self._state, self._dtype)

    def _summary(self) -> RecordingSummary | None:
        """None in a resumed run that has not observed yet."""
        if self._part is None:
            return None
        shared = self._part.parameters
        places = {id(parameter) for parameter in shared.values()}
        private = [
            (name, parameter)
            for name, parameter in self._own_model.named_parameters()
            if parameter.requires_grad and id(parameter) not in places
        ]
        return RecordingSummary(
            numbers_by_module(shared.items()),
            numbers_by_module(private if self._is_whole else ()),
            self._settings.level,
            self.cost,
            self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        """What the warnings of the run mean for its trace."""
        tasks_with: dict[str, list[str]] = {}
        for task, code in sorted(self._state.warned):
            tasks_with.setdefault(code, []).append(task)
        codes = ("absent-task", "loss-not-finite", "gradient-not-finite")
        missing = {task for code in codes for task in tasks_with.get(code, [])}
        notes: list[str] = []
        if missing:
            notes.append(f"Missing in some batches: {', '.join(sorted(missing))}.")
        if unreached := tasks_with.get("unreached-shared-part"):
            notes.append(f"Do not depend on the shared part: {', '.join(unreached)}.")
        if sums := tasks_with.get("sum-of-losses"):
            notes.append(f"Contain the losses of other tasks: {', '.join(sums)}.")
        if "lookahead-below-precision" in tasks_with:
            can_predict = self._settings.gramians and self._settings.step == "gradient"
            what = "are first-order predictions" if can_predict else "are missing"
            notes.append(f"Lookahead losses that were lost in rounding {what}.")
        if "no-pairs" in tasks_with:
            notes.append("No pair of tasks was measured.")
        return tuple(notes)

    def _describe_gramians(self, n_tasks: int) -> str:
        settings, directions = self._settings, self._settings.directions(n_tasks)
        if not settings.gramians:
            return "not recorded"
        if directions and self._state.sketch_method == "none":
            return "exact: the graph can be differentiated neither twice nor forward"
        if directions:
            return f"sketched with {directions} random directions by {self._state.sketch_method}"
        return "exact" if settings.sources is None else f"exact, {settings.sources} sources in turn"


def _gradient_version(parameter: nn.Parameter) -> tuple[int, int]:
    """Numbers that change when the parameter's gradient is changed or replaced."""
    gradient = parameter.grad
    return id(gradient), 0 if gradient is None else gradient._version


def _now(device: torch.device) -> float:
    """The time after the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
