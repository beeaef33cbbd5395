"""The recorder: stands before a run's own backward pass, and looks."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import check_names

from .gradients import task_gradient
from .graph import refuse_reentrant_checkpoints
from .left_as_found import left_as_found
from .lookahead import Evaluate, lookahead_losses
from .measurement import Measurement, stack_measurements
from .shared_parameters import Shared, shared_parameters, unwrapped
from .steps import GradientStep
from .trace import Trace

Losses = Mapping[str, Tensor]
Closure = Callable[[], Losses]


class Recorder:
    """Record per-task gradients and lookahead losses of a training run, and change nothing in it.

    Call `observe` with the tasks' losses before the run's own ``backward()``. Parameters,
    gradients, optimizer state, buffers and random states stay bit for bit as they are.

    A measurement costs one backward pass a task; where a closure is given, every
    `lookahead_every`-th also one forward pass a source.

    Args:
        model: The whole network; a loose set of modules goes in an ``nn.ModuleList``.
        shared: What the tasks share: a submodule, names, a pattern, parameters, or None for the
            parameters that at least two losses reach.
        tasks: Names of the tasks, where the first observation does not hold them all.
        every: Measure at every so many observations.
        lookahead_every: Of the measurements with a closure, look ahead at every so many.
        sources: How many sources one measurement visits, in turn; None for all. Rows of the
            others are missing (NaN). With many tasks this keeps a measurement short: T backward
            passes, but only so many forward passes and gradients held at once.
        learning_rate: Learning rate of the lookahead step.
        optimizer: The run's optimizer: the lookahead then uses its current learning rate (of the
            first group with a shared parameter), and `learning_rate` need not be given. Without
            either it is 0.001.

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
        model: nn.Module,
        shared: Shared = None,
        *,
        tasks: Iterable[str] | None = None,
        every: int = 10,
        lookahead_every: int = 1,
        sources: int | None = None,
        learning_rate: float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        for name, value in (("every", every), ("lookahead_every", lookahead_every)):
            if value < 1:
                raise InputError(f"Expected {name} to be at least 1, but got {value}.")
        if sources is not None and sources < 1:
            raise InputError(f"Expected at least one source a measurement, but got {sources}.")
        if learning_rate is not None and learning_rate <= 0:
            raise InputError(f"Expected a learning rate above 0, but got {learning_rate}.")
        self._model = model
        self._shared = shared
        self._tasks = None if tasks is None else check_names(tasks)
        self._every = every
        self._lookahead_every = lookahead_every
        self._sources = sources
        self._learning_rate = learning_rate
        self._optimizer = optimizer
        self._parameters: dict[str, nn.Parameter] | None = None
        self._step = 0
        self._first_source = 0
        self._measurements: list[Measurement] = []

    def observe(self, losses: Losses, closure: Closure | None = None) -> None:
        """Look at one step of the run; call before the run's own backward pass.

        Args:
            losses: Loss of each task that is present in this step, with its graph; not yet
                weighted, scaled or divided by accumulation steps.
            closure: Evaluates the same losses anew, on the same batch; needed for the lookahead.

        Raises:
            InputError: If a loss is no scalar or has no graph, if a task is new, or if the closure
                returns something other than `losses`.
        """
        step = self._step
        self._step += 1
        if step % self._every:
            return
        self._check_losses(losses)
        with left_as_found(unwrapped(self._model)) as put_back:
            if self._parameters is None:
                refuse_reentrant_checkpoints(losses.values())
                self._parameters = shared_parameters(
                    self._model, self._shared, list(losses.values())
                )
            measurement = self._measure(step, losses, closure, put_back)
        self._measurements.append(measurement)

    def trace(self) -> Trace:
        """What was recorded so far.

        Raises:
            InputError: If nothing was.
        """
        if self._tasks is None or not self._measurements:
            raise InputError(
                "Expected at least one measurement, but nothing was recorded: call "
                "recorder.observe(losses) before backward() in the training loop."
            )
        return stack_measurements(self._tasks, self._measurements)

    def _measure(
        self, step: int, losses: Losses, closure: Closure | None, put_back: Callable[[], bool]
    ) -> Measurement:
        assert self._tasks is not None
        assert self._parameters is not None
        shared = list(self._parameters.values())
        present = self._finite(step, losses)
        learning_rate = self._current_learning_rate()
        visited = self._visited_sources()
        gradients = {
            task: gradient
            for task in visited
            if task in present and (gradient := task_gradient(present[task], shared)) is not None
        }
        gramian = shared[0].new_full((len(self._tasks),) * 2, torch.nan, dtype=torch.float32)
        rows = [self._tasks.index(task) for task in gradients]
        sources = torch.stack(list(gradients.values())) if gradients else None
        for task, loss in present.items():
            if sources is None:
                break
            gradient = gradients[task] if task in gradients else task_gradient(loss, shared)
            if gradient is None:
                continue
            column = self._tasks.index(task)
            products = sources @ gradient
            gramian[rows, column] = products
            gramian[column, rows] = products
        gramian[~gramian.isfinite()] = torch.nan
        losses_now = self._vector(present)
        lookahead = None
        if closure is not None and len(self._measurements) % self._lookahead_every == 0:
            evaluate = self._evaluation(closure, tuple(losses), put_back)
            put_back()
            base = evaluate()
            has_drawn = put_back()
            self._check_closure(losses_now, base, has_drawn)
            losses_now = base
            lookahead = lookahead_losses(
                evaluate,
                shared,
                (gradients.get(task) for task in self._tasks),
                GradientStep(learning_rate),
            )
            lookahead[~lookahead.isfinite()] = torch.nan
        return Measurement(
            step=step,
            losses=losses_now.cpu(),
            gramian=gramian.cpu(),
            lookahead=None if lookahead is None else lookahead.cpu(),
            learning_rate=learning_rate,
        )

    def _visited_sources(self) -> tuple[str, ...]:
        assert self._tasks is not None
        if self._sources is None or self._sources >= len(self._tasks):
            return self._tasks
        twice = self._tasks * 2
        visited = twice[self._first_source : self._first_source + self._sources]
        self._first_source = (self._first_source + self._sources) % len(self._tasks)
        return visited

    def _current_learning_rate(self) -> float:
        if self._learning_rate is not None:
            return self._learning_rate
        if self._optimizer is None:
            return 0.001
        assert self._parameters is not None
        shared = {id(parameter) for parameter in self._parameters.values()}
        for group in self._optimizer.param_groups:
            if any(id(parameter) in shared for parameter in group["params"]):
                return float(group["lr"])
        raise InputError(
            "Expected the optimizer to train the shared parameters, but none of its groups holds "
            "one: pass the optimizer of this model, or learning_rate=..."
        )

    def _evaluation(
        self, closure: Closure, expected: Sequence[str], put_back: Callable[[], bool]
    ) -> Evaluate:
        """The closure's losses as a vector, from the random states and buffers of now."""

        def evaluate() -> Float[Tensor, " task"]:
            put_back()
            with torch.no_grad(), _fresh_autocast():
                losses = closure()
            if set(losses) != set(expected):
                raise InputError(
                    f"Expected the closure to return the losses of {sorted(expected)}, as given "
                    f"to observe, but got {sorted(losses)}."
                )
            return self._vector(losses)

        return evaluate

    def _check_closure(
        self, given: Float[Tensor, " task"], base: Float[Tensor, " task"], has_drawn: bool
    ) -> None:
        if self._measurements or has_drawn:
            return
        assert self._tasks is not None
        for task, first, second in zip(self._tasks, given.tolist(), base.tolist(), strict=True):
            if abs(first - second) > 0.02 * max(abs(first), abs(second)) + 1e-6:
                raise InputError(
                    f"Expected the closure to evaluate the same losses on the same batch, but for "
                    f"the task {task!r} it gives {second:.6g} where observe was given "
                    f"{first:.6g}. Pass the losses unweighted and undivided, and let the closure "
                    "use the batch that they were made from, in the same train/eval mode."
                )

    def _vector(self, losses: Losses) -> Float[Tensor, " task"]:
        assert self._tasks is not None
        some = next(iter(losses.values()), torch.tensor(0.0))
        values = [
            losses[task].detach().float() if task in losses else some.new_tensor(torch.nan).float()
            for task in self._tasks
        ]
        return torch.stack(values)

    def _finite(self, step: int, losses: Losses) -> dict[str, Tensor]:
        bad = [task for task, loss in losses.items() if not bool(loss.detach().isfinite())]
        if bad:
            warnings.warn(
                f"The loss of {bad} is NaN or infinite at step {step}: recorded as missing there. "
                "Look for a too high learning rate, or labels and inputs that are not finite.",
                stacklevel=4,
            )
        return {task: loss for task, loss in losses.items() if task not in bad}

    def _check_losses(self, losses: Losses) -> None:
        if not losses:
            raise InputError("Expected the losses of at least one task, but got none.")
        for task, loss in losses.items():
            if loss.dim() != 0:
                raise InputError(
                    f"Expected a scalar loss for the task {task!r}, but got the shape "
                    f"{tuple(loss.shape)}: take its mean."
                )
            if not loss.requires_grad:
                raise InputError(
                    f"Expected the loss of the task {task!r} with its graph, but it does not "
                    "require gradients: pass the loss itself, not loss.item() or loss.detach(), "
                    "and observe outside of torch.no_grad()."
                )
        if self._tasks is None:
            self._tasks = check_names(losses)
        unknown = [task for task in losses if task not in self._tasks]
        if unknown:
            raise InputError(
                f"Expected losses of the tasks {self._tasks}, as at the first step, but got "
                f"{unknown} too. Where tasks come and go, name them all: Recorder(tasks=[...])."
            )


class _fresh_autocast:  # noqa: N801
    """Let no cached low-precision copy of a parameter outlive a change of its values."""

    def __enter__(self) -> None:
        self._was_enabled = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)

    def __exit__(self, *exception: object) -> None:
        torch.set_autocast_cache_enabled(self._was_enabled)
