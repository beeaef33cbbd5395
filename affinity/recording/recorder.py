"""The recorder: stands before a run's own backward pass, and looks."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import check_names

from .batch import Batch, Closure, Losses, check_losses
from .description import described
from .hooks import tell_of_hooks
from .left_as_found import left_as_found
from .measurement import Measurement
from .merge import concatenated
from .momentum import carried_momentum
from .progress import Progress
from .ranks import Ranks
from .schedule import Cost, Schedule
from .settings import HeldOut, Level, Settings, StepKind
from .shared_parameters import Shared, unwrapped, whole_or_shared
from .state import State, packed, unpacked
from .steps import StepFrom
from .trace import Trace
from .unfinished import Unfinished
from .watched import Watched, watched_part


class Recorder:
    """Record per-task gradients and lookahead losses of a training run, and change nothing in it.

    Call `observe` with the tasks' losses before the run's own ``backward()``. Parameters,
    gradients, optimizer state, buffers and random states stay bit for bit as they are.

    A measurement costs about one backward pass a task; with many tasks, the Gramian is sketched at
    the cost of a few passes over all. Where a closure is given, some measurements also look ahead:
    one forward pass a source.

    Args:
        model: The whole network. Without it, `shared` is the shared module or parameters, and
            modules beside it are held as they are called.
        shared: What the tasks share: a submodule, names, a pattern, parameters, or None for the
            parameters that at least two losses reach.
        tasks: Names of the tasks, where the first observation does not hold them all.
        every: Measure at every so many observations.
        after: The first observation that is measured.
        until: The first observation that is not any more.
        overhead: Instead of `every`: the time of all measurements as a share of the run's own.
            The first one is made at once, and paid back before the next.
        level: Where gradients are taken: all shared parameters; those of the last shared layer;
            or the representation, the shared part's output, which costs no pass through the trunk
            (and has no lookahead).
        layers: Record a Gramian a layer too: how many parts of a module's name tell layers apart,
            or the names of modules.
        lookahead_every: Of the measurements with a closure, look ahead at every so many; 1 for
            estimators of lookahead losses, as inter-task affinity.
        step: The lookahead's step: ``"gradient"``, plain, as in the TAG paper, or ``"optimizer"``,
            the one that `optimizer` would take on that task's gradient alone.
        learning_rate: Of the plain step. Without it, that of the first group of `optimizer` with a
            shared parameter, as it stands; without `optimizer`, 0.001.
        optimizer: The run's optimizer; with it, products of the tasks' gradients with its momentum
            are recorded, too.
        sources: How many sources a measurement visits, in turn: rows of the others are missing
            (NaN). Without it, all; among many tasks, 8 a lookahead.
        sketch: Random directions of the Gramian's sketch, 0 for an exact one. ``"auto"``: 8 with
            more than 12 tasks.
        memory: Bytes of gradients held at once. Where all tasks' do not fit, an exact Gramian is
            made in blocks of sources, at the price of more backward passes.
        gramians: Whether to record inner products; without them, every measurement looks ahead,
            and no more than one gradient is held.
        held_out: ``"micro-batch"``: in a loop that accumulates gradients, measure targets on the
            micro-batch that is observed next, before the optimizer's step. The sources' gradients
            are kept until then. In other loops, pass a closure to `observe`.
        timeout: In a distributed run, how many seconds to wait for a rank that does not observe.
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
            raise InputError('Expected optimizer=... for step="optimizer", but got none.')
        self.optimizer = optimizer
        """The run's optimizer; may be set once it is made."""
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
        self._model = whole_or_shared(model, shared)
        self._is_whole = model is not None
        self._shared = shared
        self._tasks = None if tasks is None else check_names(tasks)
        self._schedule = Schedule(every, after, until, overhead)
        self._ranks = Ranks(timeout)
        self._progress = Progress(torch.Generator().manual_seed(seed))
        self._watched: Watched | None = None
        self._unfinished: Unfinished | None = None
        self._is_observing = False
        self._step = 0
        self._measurements: list[Trace] = []

    def is_due(self) -> bool:
        """Whether the next observation may be measured: where losses for it cost something."""
        return self._progress.begun > 0 or self._schedule.is_due(self._step)

    @property
    def is_observing(self) -> bool:
        """Whether the recorder is at work: hooks that count calls can leave out its own."""
        return self._is_observing

    def observe(
        self, losses: Losses, closure: Closure | None = None, held_out: Closure | None = None
    ) -> None:
        """Look at one step of the run; call before the run's own backward pass.

        Args:
            losses: Loss of each task that is present in this step, with its graph; not yet
                weighted, scaled or divided by accumulation steps. Where tasks have batches of their
                own, a function a task that evaluates its loss; it is called when needed.
            closure: Evaluates the same losses anew, on the same batch; needed for the lookahead.
            held_out: Evaluates the losses on another batch: then inner products of gradients from
                the one with gradients from the other are recorded, and lookahead losses there.

        Raises:
            InputError: If a loss is no scalar or has no graph, if a task is new, or if a closure
                returns something other than `losses`.
        """
        step, is_due = self._step, self.is_due()
        self._step += 1
        if not is_due:
            return
        check_losses(losses, self._tasks)
        self._tasks = self._tasks or check_names(losses)
        like = next(self._model.parameters(), torch.zeros(()))
        started = _now(like)
        self._ranks.meet(step)
        plain = self._ranks.largest(self._schedule.cost.plain_seconds, like)
        if not self._progress.begun and not self._schedule.fits(step, plain):
            return
        self._is_observing = True
        try:
            held = left_as_found(unwrapped(self._model), and_called=not self._is_whole)
            with held as put_back:
                batch = Batch(self._tasks, losses, closure, put_back, self._model)
                other = self._held_out(held_out, put_back)
                self._measure(step, batch, other)
        finally:
            self._is_observing = False
        seconds = self._ranks.largest(_now(like) - started, like)
        self._schedule.measured(seconds, is_done=not self._progress.begun)

    def trace(self) -> Trace:
        """What was recorded so far.

        Raises:
            InputError: If nothing was.
        """
        if not self._measurements:
            raise InputError(
                "Expected at least one measurement, but nothing was recorded: call "
                "recorder.observe(losses) before backward() in the training loop."
            )
        self._measurements = [concatenated(self._measurements)]
        return self._measurements[0]

    @property
    def cost(self) -> Cost:
        """What recording cost so far."""
        return self._schedule.cost

    def describe(self) -> str:
        """What is recorded and how, what was found to be shared, and what it cost, in words."""
        if self._watched is None:
            return "Nothing was observed yet."
        return described(
            self._watched,
            self._settings,
            self._progress.sketch_method,
            self.cost,
            is_found=self._shared is None,
        )

    def state_dict(self) -> State:
        """All that a resumed run needs, for the run's own checkpoint: tensors, and a JSON text."""
        about = {
            "tasks": self._tasks,
            "step": self._step,
            "schedule": self._schedule.state_dict(),
            **self._progress.state_dict(),
        }
        trace = self.trace() if self._measurements else None
        return packed(trace, self._progress.generator.get_state(), about)

    def load_state_dict(self, state: Mapping[str, Tensor | str]) -> None:
        """Go on recording where `state_dict` was taken.

        Raises:
            InputError: If the state is of other tasks, or of a later version.
        """
        arrays, generator, about = unpacked(state)
        tasks = None if about["tasks"] is None else tuple(about["tasks"])
        if self._tasks is not None and tasks is not None and tasks != self._tasks:
            raise InputError(
                f"Expected the state of a recorder of the tasks {self._tasks}, but got {tasks}."
            )
        self._tasks = tasks or self._tasks
        self._step = about["step"]
        self._schedule.load_state_dict(about["schedule"])
        self._progress.load_state_dict(about)
        self._progress.generator.set_state(generator)
        layers = None if about["layers"] is None else tuple(about["layers"])
        self._measurements = [Trace(tasks=tasks, layers=layers, **arrays)] if arrays else []  # pyright: ignore[reportArgumentType]

    def _measure(self, step: int, batch: Batch, other: Batch | None) -> None:
        progress, unfinished, self._unfinished = self._progress, self._unfinished, None
        if unfinished is not None and unfinished.finish(batch, progress.begun):
            self._measurements.append(unfinished.measurement.trace())
            progress.begun = 0
            return
        settings, watched = self._settings, self._watched or self._find(batch, other)
        at_parameters = settings.level != "representation"
        step_from = StepFrom(
            settings.step,
            settings.learning_rate,
            self.optimizer,
            watched.shared if at_parameters else [],
        )
        measure = Measurement(
            watched,
            settings,
            progress,
            step_from,
            carried_momentum(self.optimizer, watched.shared) if at_parameters else None,
            does_look=batch.can_evaluate and settings.looks_at(len(self._schedule)),
        )
        measure(step, batch, other, is_first=not self._measurements)
        if settings.held_out is None:
            self._measurements.append(measure.trace())
        else:
            progress.begun += 1
            self._unfinished = Unfinished(measure, watched.shared)

    def _find(self, batch: Batch, other: Batch | None) -> Watched:
        """What is watched, at the first measurement."""
        assert self._tasks is not None
        level = self._settings.level
        if not self._settings.gramians and not batch.can_evaluate:
            raise InputError(
                "Expected a closure, since without Gramians lookaheads are all that there is to "
                "record: recorder.observe(losses, closure=...)."
            )
        self._watched = watched_part(
            self._tasks, self._model, self._shared, level, self._ranks, batch
        )
        tell_of_hooks(self._watched, evaluates=batch.can_evaluate or other is not None)
        return self._watched

    def _held_out(self, closure: Closure | None, put_back: Callable[[], bool]) -> Batch | None:
        if closure is None:
            return None
        assert self._tasks is not None
        if self._settings.level == "representation" or self._settings.held_out is not None:
            raise InputError(
                "Expected held_out=... of observe to measure gradients on parameters, once: leave "
                'it out at level="representation", and beside Recorder(held_out=...).'
            )
        return Batch.of_closure(self._tasks, closure, put_back, self._model)


def _now(like: Tensor) -> float:
    """The time, after what the device has yet to do."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()
