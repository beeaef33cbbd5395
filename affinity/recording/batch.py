"""Batch: the losses of one batch with their graph, and how to evaluate them again."""

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn.utils import parametrize

from affinity.errors import InputError

from .gradients import Gradient, scaled_gradient, task_gradient
from .preserve_state import accelerators, advance_generators
from .ranks import Ranks
from .recorder_state import RecorderState
from .shards import gradient_parts, is_sharded, reshard

TaskLosses = Mapping[str, Tensor | None] | Mapping[str, Callable[[], Tensor]]
"""One loss per task, None where the batch holds no rows of it; or one function per task that
evaluates its loss, where tasks have batches of their own."""

Closure = Callable[[], Mapping[str, Tensor | None]]  # evaluates the losses of a batch again


class Batch:
    """The losses of one batch; every evaluation starts from the same random states and buffers.

    A task is absent if its loss is None, or 0 or NaN without a graph. `restore` returns whether
    random numbers were drawn; `first` holds the losses of the closure's first evaluation, if any.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        losses: TaskLosses,
        closure: Closure | None,
        restore: Callable[[], bool],
        model: nn.Module,
        state: RecorderState,
        dtype: torch.dtype,
        first: Float[Tensor, " task"] | None = None,
    ) -> None:
        self._tasks = tasks
        self._first = first
        self.state = state
        self._given = losses.keys()
        self._losses = self._present(losses)
        self._closure = closure
        self._restore = restore
        self._model = model
        self.dtype = dtype  # in which losses are recorded
        self.is_apart = any(callable(loss) for loss in losses.values())
        """Whether each task has a batch of its own."""
        self.can_evaluate = closure is not None or self.is_apart
        """Whether the losses can be evaluated again."""
        self.has_drawn = False  # whether an evaluation drew random numbers
        self.ranks_with: list[float] = []  # the number of ranks on which each task has a loss
        self.missing: set[str] = set()  # without labels: not finite, or 0 with a gradient of 0

    @classmethod
    def from_closure(
        cls,
        tasks: tuple[str, ...],
        closure: Closure,
        restore: Callable[[], bool],
        model: nn.Module,
        state: RecorderState,
        dtype: torch.dtype,
    ) -> "Batch":
        """The batch that a closure evaluates."""
        restore()
        with torch.enable_grad():
            losses = closure()
        restore()
        check_losses(losses, tasks, model)
        return cls(tasks, losses, closure, restore, model, state, dtype)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks that are present, in order."""
        return tuple(t for t in self._tasks if t in self._losses and t not in self.missing)

    def loss(self, task: str) -> Float[Tensor, ""]:
        """The task's loss, with its graph."""
        loss = self._losses[task]
        if isinstance(loss, Tensor):
            return loss
        with torch.enable_grad():
            loss = loss()
        self._restore_after_evaluation()
        check_loss(task, loss)
        return loss.reshape(())

    def losses(self) -> list[Float[Tensor, ""]]:
        """The losses of all present tasks, with their graph."""
        return [self.loss(task) for task in self.names]

    def gradient(
        self, task: str, inputs: Sequence[Tensor | GradientEdge], *, is_half: bool = False
    ) -> Gradient | None:
        """The gradient of a task's loss with respect to `inputs`; None where it is missing.

        With `is_half`, through numbers in float16 (`scaled_gradient`).
        """
        if task not in self._losses or task in self.missing:
            return None
        loss = self.loss(task)
        value = loss.item()
        if not math.isfinite(value):
            self.missing.add(task)
            return None
        gradient = (scaled_gradient if is_half else task_gradient)([loss], inputs)
        if is_without_labels(value, gradient):
            self.missing.add(task)
            return None
        return gradient

    def sharded_gradient(
        self, task: str, parameters: Sequence[Tensor], ranks: Ranks
    ) -> Gradient | None:
        """This process's part of the gradient, averaged over the ranks on which the task is.

        In the backward pass, the other losses have the weight 0, so that it takes the same way on
        all ranks, also on those that lack the task.
        """
        names = [name for name in self.names if name == task or not self.is_apart]
        losses = {name: loss for name in names if (loss := self.loss(name)).isfinite()}
        is_labelled = task in losses and losses[task].item() != 0
        present = [float(name in losses) for name in self._tasks]
        flags = [float(bool(losses)), float(is_labelled), float(self.is_apart)]
        with_losses, with_labels, are_apart, *with_task = ranks.totals(
            [*flags, *present], self.device
        )
        n_with = with_task[self._tasks.index(task)]
        if are_apart and 0 < n_with < ranks.count:
            raise InputError(
                f"Expected a batch of the task {task!r} on each of the {ranks.count} processes, "
                f"since parameters are sharded, but it is on {n_with:.0f} of them.",
                "absent-task",
            )
        n_with = with_labels or n_with
        if with_losses < ranks.count:
            self.state.warn_once(
                "A process has no loss at some steps. Since parameters are sharded, these steps "
                "are recorded as missing.",
                "no-losses",
            )
        if with_losses < ranks.count or not n_with:
            return None
        weights = [float(name == task) for name in losses]
        gradient = gradient_parts(
            self._model,
            list(losses.values()),
            weights,
            parameters,
            has_gaps=any(0 < count < ranks.count for count in with_task),
        )
        if with_labels:
            is_missing = not is_labelled
        else:  # the loss is 0 everywhere
            is_missing = not ranks.totals([_largest(gradient)], self.device)[0]
        if is_missing:
            self.missing.add(task)
        if is_missing and not with_labels:
            return None
        for place, (parameter, part) in enumerate(zip(parameters, gradient, strict=True)):
            if part is not None and is_sharded(parameter):  # FSDP2 averages over all ranks
                gradient[place] = part * (ranks.count / n_with)
            elif not is_sharded(parameter):
                averaged = ranks.mean_gradient([part] if is_labelled else None, [parameter])
                gradient[place] = averaged[0] if averaged else None
        return gradient

    def count_ranks(self, ranks: Ranks) -> None:
        """Ask the ranks for the number of those on which each task is present."""
        names = set(self.names)
        present = [float(task in names) for task in self._tasks]
        self.ranks_with = ranks.totals(present, self.device)

    def finite_values(self, step: int, ranks: Ranks) -> Float[Tensor, " task"]:
        """The losses as given; a loss that is not finite is missing, with a warning."""
        losses = self.values()
        for task, is_finite in zip(self._tasks, losses.isfinite().tolist(), strict=True):
            if is_finite or task not in self._losses or task in self.missing:
                continue
            self.missing.add(task)
            self.state.warn_once(
                f"The loss of the task {task!r} is NaN or infinite at step {step}; the task is "
                "recorded as missing at such steps. That is expected where a batch holds no labels "
                "of the task. Otherwise, check for a learning rate that is too high, and for "
                "labels and inputs that are not finite.",
                "loss-not-finite",
                task,
            )
        self.count_ranks(ranks)
        return losses

    def values(self) -> Float[Tensor, " task"]:
        """The losses as given; evaluated, where each task has a batch of its own."""
        if self.is_apart:
            return self.evaluate()
        losses = {t: loss.detach() for t, loss in self._losses.items() if isinstance(loss, Tensor)}
        return self._vector(losses)

    def evaluate(self) -> Float[Tensor, " task"]:
        """The losses evaluated again, without their graph."""
        with torch.set_grad_enabled(self.state.needs_graph):
            try:
                return self._evaluate().detach()
            except RuntimeError as error:
                if self.state.needs_graph or "grad" not in str(error):
                    raise
        self._restore()
        self.state.needs_graph = True  # it differentiates, or keeps gradients
        return self.evaluate()

    def evaluate_with_graph(self) -> dict[str, Float[Tensor, ""]]:
        """The losses of the present tasks evaluated again, with their graph."""
        with torch.enable_grad():
            losses = self._evaluate_by_task()
        return {task: losses[task] for task in self.names}

    def evaluate_with_tangents(self) -> Float[Tensor, " task"]:
        """The losses of the present tasks, in order, within a forward-mode derivative."""
        return self._evaluate()[[self._tasks.index(task) for task in self.names]]

    def baseline_losses(self, ranks: Ranks, *, is_first: bool) -> Float[Tensor, " task"]:
        """Losses before a lookahead's step, with the dropout masks of the lookahead.

        At the first measurement, the closure's losses are compared with those given to `observe`,
        unless they depend on random numbers, or on buffers that every forward pass changes
        (`spectral_norm`).
        """
        losses = self._baseline_losses(is_first=is_first)
        if is_first:  # the same decision on all ranks, since evaluations may communicate
            is_inexact = float(not self.state.is_closure_exact)
            self.state.is_closure_exact = not ranks.largest(is_inexact, self.device)
        return losses

    def _baseline_losses(self, *, is_first: bool) -> Float[Tensor, " task"]:
        if self._first is not None:
            self._check_repeated(self._first, self.evaluate())
        if self.state.is_closure_exact or self.is_apart:
            return self.values()
        baseline = self.evaluate()
        if not is_first or (self.has_drawn and not _are_equal(baseline, self._redraw())):
            return baseline
        given = self.values()
        self.state.is_closure_exact = _are_equal(baseline, given)
        for task, first, second in zip(self._tasks, given.tolist(), baseline.tolist(), strict=True):
            if abs(first - second) > 0.02 * max(abs(first), abs(second)) + 1e-6:
                if not _are_equal(baseline, self._evaluate_twice()):
                    return baseline
                raise InputError(
                    f"Expected the closure to evaluate the same losses on the same batch, but for "
                    f"the task {task!r} it returns {second:.6g} and observe received "
                    f"{first:.6g}. Pass the losses unweighted and undivided, and let the closure "
                    "use the batch that they were computed from, in the same train/eval mode.",
                    "different-closure",
                )
        return baseline

    def _check_repeated(
        self, first: Float[Tensor, " task"], second: Float[Tensor, " task"]
    ) -> None:
        """Raise an error if two evaluations from the same state differ by more than rounding."""
        for task, one, other in zip(self._tasks, first.tolist(), second.tolist(), strict=True):
            if abs(one - other) > 1e-2 * max(abs(one), abs(other)):
                raise InputError(
                    "Expected a closure that evaluates the same losses each time, but for the task "
                    f"{task!r} it returned {one:.6g}, then {other:.6g}, with the same parameters, "
                    "buffers, attributes of modules and random states. It depends on something "
                    "else that it changes: an iterator that moves on, a file or a generator.",
                    "different-closure",
                )

    def restore(self) -> None:
        """Undo what backward passes have drawn or changed before the next evaluation."""
        self._restore()

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self._model.parameters(), torch.zeros(())).device

    def _redraw(self) -> Float[Tensor, " task"]:
        """The losses with other random numbers than `evaluate` uses."""
        advance_generators(accelerators(self._model))
        return self.evaluate()

    def _evaluate_twice(self) -> Float[Tensor, " task"]:
        """The losses of a second evaluation that starts from the buffers that the first left."""
        assert self._closure is not None  # losses that are functions are not compared
        with torch.set_grad_enabled(self.state.needs_graph):
            self._closure()
        return self.evaluate()

    def _evaluate(self) -> Float[Tensor, " task"]:
        return self._vector(self._evaluate_by_task())

    def _evaluate_by_task(self) -> dict[str, Tensor]:
        if self._closure is not None:
            evaluated = self._closure()
            self._restore_after_evaluation()
            return self._check_evaluated(evaluated)
        losses: dict[str, Tensor] = {}
        for task, loss in self._losses.items():
            assert not isinstance(loss, Tensor)
            losses[task] = loss()
            self._restore_after_evaluation()
        return losses

    def _restore_after_evaluation(self) -> None:
        has_drawn = self._restore()
        self.has_drawn = self.has_drawn or has_drawn

    def _present(self, losses: TaskLosses) -> dict[str, Tensor | Callable[[], Tensor]]:
        """The losses without those of absent tasks, with a warning once per task."""
        present: dict[str, Tensor | Callable[[], Tensor]] = {}
        for task, loss in losses.items():
            if loss is None or (isinstance(loss, Tensor) and not loss.requires_grad):
                cause = "None" if loss is None else f"the constant {loss.item():g} without a graph"
                self.state.warn_once(
                    f"The loss of the task {task!r} is {cause}: the task is recorded as missing in "
                    "such batches.",
                    "absent-task",
                    task,
                )
            else:
                has_axes = isinstance(loss, Tensor) and loss.dim()
                present[task] = cast("Tensor", loss).reshape(()) if has_axes else loss
        return present

    def _vector(self, losses: Mapping[str, Tensor]) -> Float[Tensor, " task"]:
        if len(losses) == len(self._tasks) and not self.missing:
            return torch.stack([losses[task] for task in self._tasks]).to(self.dtype)
        device = next((loss.device for loss in losses.values()), self.device)
        missing = torch.full((), torch.nan, device=device, dtype=self.dtype)
        known = {t: loss.to(self.dtype) for t, loss in losses.items() if t not in self.missing}
        return torch.stack([known.get(task, missing) for task in self._tasks])

    def _check_evaluated(self, losses: object) -> dict[str, Tensor]:
        """The losses that a closure evaluated, of the tasks that are present."""
        evaluated: dict[str, Tensor] = {}
        for task, loss in _by_task(losses).items():
            if loss is not None:
                evaluated[task] = check_loss(task, loss, needs_graph=False)
        if self._losses.keys() - evaluated.keys() or evaluated.keys() - self._given:
            raise InputError(
                f"Expected the closure to return the losses of {sorted(self._losses)}, as passed "
                f"to observe, but got {sorted(evaluated)}.",
                "different-closure",
            )
        return {task: evaluated[task] for task in self._losses}


def is_without_labels(loss: float, gradient: Gradient) -> bool:
    """Whether a batch has no label of the task: its loss is exactly 0, and so is the gradient."""
    return loss == 0 and not any(
        part is not None and bool((part.coalesce().values() if part.is_sparse else part).any())
        for part in gradient
    )


def _largest(gradient: Gradient) -> float:
    parts = [part for part in gradient if part is not None and part.numel()]
    return max((part.abs().max().item() for part in parts), default=0.0)


def check_losses(losses: object, tasks: tuple[str, ...] | None, model: nn.Module) -> None:
    """Raise an error unless these are losses of known tasks: scalars with a graph, or functions.

    Losses need no graph where frozen parameters may be all that they depend on.
    """
    needs_graph = not torch.is_grad_enabled() or all(p.requires_grad for p in model.parameters())
    by_task = _by_task(losses)
    if not by_task:
        raise InputError("Expected the losses of at least one task, but got none.", "no-losses")
    for task, loss in by_task.items():
        if loss is not None and not callable(loss):
            check_loss(task, loss, needs_graph=needs_graph)
    unknown = [task for task in by_task if tasks is not None and task not in tasks]
    if unknown:
        raise InputError(
            f"Expected losses of the tasks {tasks}, as at the first step, but also got "
            f"{unknown}. If some tasks are missing at some steps, name all: Recorder(tasks=[...]).",
            "unknown-task",
        )


def check_loss(task: str, loss: object, *, needs_graph: bool = True) -> Tensor:
    """The loss as a tensor without axes; a constant 0 or NaN stands for a task that is absent."""
    if not isinstance(loss, Tensor):
        raise InputError(
            f"Expected a tensor or a function as the loss of the task {task!r}, but got "
            f"{type(loss).__name__}: pass the loss itself, not loss.item().",
            "no-tensor",
        )
    if loss.is_complex():
        raise InputError(
            f"Expected a real loss for the task {task!r}, but it is complex: take loss.real, or "
            "loss.abs().",
            "no-scalar",
        )
    if loss.numel() != 1:
        raise InputError(
            f"Expected a scalar loss for the task {task!r}, but got the shape "
            f"{tuple(loss.shape)}: take its mean.",
            "no-scalar",
        )
    if needs_graph and not loss.requires_grad and loss.item() != 0 and not loss.isnan():
        raise InputError(
            f"Expected the loss of the task {task!r} with its graph, but it does not require "
            "gradients: pass the loss itself, not loss.detach(), and observe outside of "
            "torch.no_grad().",
            "no-graph",
        )
    return loss.reshape(())


def _by_task(losses: object) -> Mapping[str, object]:
    """The losses, if they are a mapping."""
    if not isinstance(losses, Mapping):
        raise InputError(
            "Expected losses by task, such as {'depth': loss, 'edges': loss}, from observe and its "
            f"closures, but got {type(losses).__name__}.",
            "no-mapping",
        )
    return cast("Mapping[str, object]", losses)


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())


@contextlib.contextmanager
def without_effects(model: nn.Module) -> Generator[None]:
    """Evaluate losses and gradients of a model without effects on later passes.

    No low-precision copies of parameters and no parametrizations are cached, since the parameters'
    values change; the state of DistributedDataParallel stays as it is, and what FSDP2 has gathered
    is gathered again.
    """
    gathered = reshard(model)
    is_cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    caching = parametrize.__dict__
    levels, caching["_cache_enabled"] = caching["_cache_enabled"], 0
    parallel = getattr(model, "_orig_mod", model)  # below `torch.compile`
    settings: dict[str, bool] = {}
    if isinstance(parallel, nn.parallel.DistributedDataParallel):
        settings = {"require_forward_param_sync": False, "require_backward_grad_sync": False}
        if parallel.static_graph:  # leave what the first backward pass prepares to the run's own
            settings["_static_graph_delay_allreduce_enqueued"] = True
    before = {name: getattr(parallel, name) for name in settings}
    try:
        for name, value in settings.items():
            setattr(parallel, name, value)
        yield
    finally:
        torch.set_autocast_cache_enabled(is_cached)
        caching["_cache_enabled"] = levels
        for name, value in before.items():
            setattr(parallel, name, value)
    for module in gathered:  # not after an error, since other ranks would have to take part
        module.unshard()
