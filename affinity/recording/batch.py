"""One batch as the recorder sees it: losses with their graph, and how to evaluate them anew."""

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError

from .gradients import Gradient, task_gradient
from .random_states import accelerators, draw_some

Losses = Mapping[str, Tensor] | Mapping[str, Callable[[], Tensor]]
"""A loss a task; or a function a task that evaluates it, where tasks have batches of their own."""

Closure = Callable[[], Mapping[str, Tensor]]
"""Evaluates the losses of a batch anew."""


class Batch:
    """The losses of one batch; every evaluation starts from the same random states and buffers.

    That is, each puts back what it changed; the first starts from where the run is.

    Args:
        tasks: All tasks, in order.
        losses: The losses of the tasks that are present.
        closure: Evaluates them anew.
        put_back: Puts random states and buffers back.
        model: The network, as the user holds it.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        losses: Losses,
        closure: Closure | None,
        put_back: Callable[[], bool],
        model: nn.Module,
    ) -> None:
        self._tasks = tasks
        self._losses = dict(losses)
        self._closure = closure
        self._put_back = put_back
        self._model = model
        self.has_drawn = False
        """Whether an evaluation drew random numbers."""
        self.missing: set[str] = set()
        """Tasks whose loss is not finite, or exactly 0 with a gradient of 0: without labels."""

    @classmethod
    def of_closure(
        cls,
        tasks: tuple[str, ...],
        closure: Closure,
        put_back: Callable[[], bool],
        model: nn.Module,
    ) -> "Batch":
        """The batch that a closure evaluates."""
        put_back()
        with _without_synchronization(model), torch.enable_grad():
            losses = closure()
        put_back()
        check_losses(losses, tasks)
        return cls(tasks, losses, closure, put_back, model)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks that are present, in order."""
        return tuple(t for t in self._tasks if t in self._losses and t not in self.missing)

    @property
    def can_evaluate(self) -> bool:
        """Whether the losses can be evaluated anew."""
        return self._closure is not None or self.is_apart

    @property
    def is_apart(self) -> bool:
        """Whether tasks have batches of their own."""
        return any(not isinstance(loss, Tensor) for loss in self._losses.values())

    def loss(self, task: str) -> Float[Tensor, ""]:
        """The task's loss, with its graph."""
        loss = self._losses[task]
        if isinstance(loss, Tensor):
            return loss
        with _without_synchronization(self._model), torch.enable_grad(), _fresh_autocast():
            loss = loss()
        self._drew(self._put_back())
        check_loss(task, loss)
        return loss

    def gradient(self, task: str, places: Sequence[Tensor | GradientEdge]) -> Gradient | None:
        """The gradient of a task's loss at these places; None where it is missing."""
        if task not in self._losses or task in self.missing:
            return None
        loss = self.loss(task)
        value = loss.item()
        if not math.isfinite(value):
            self.missing.add(task)
            return None
        gradient = task_gradient(loss, places)
        if is_without_labels(value, gradient):
            self.missing.add(task)
            return None
        return gradient

    def values(self) -> Float[Tensor, " task"]:
        """The losses as given; evaluated, where tasks have batches of their own."""
        if self.is_apart:
            return self.evaluate()
        losses = {t: loss.detach() for t, loss in self._losses.items() if isinstance(loss, Tensor)}
        return self._vector(losses)

    def evaluate(self) -> Float[Tensor, " task"]:
        """The losses evaluated anew, without their graph."""
        with torch.no_grad():
            return self._evaluate().detach()

    def evaluate_in_a_row(self) -> Float[Tensor, " task"]:
        """The losses of a second evaluation, while what the first changed is still in place."""
        assert self._closure is not None  # losses that are functions are not checked
        with torch.no_grad(), _without_synchronization(self._model), _fresh_autocast():
            self._closure()
        return self.evaluate()

    def evaluate_by_chance(self) -> Float[Tensor, " task"]:
        """The losses with other random numbers than `evaluate` takes."""
        draw_some(accelerators(self._model))
        return self.evaluate()

    def evaluate_with_tangents(self) -> Float[Tensor, " task"]:
        """The losses of the present tasks, in order, within a forward-mode derivative."""
        return self._evaluate()[[self._tasks.index(task) for task in self.names]]

    def _evaluate(self) -> Float[Tensor, " task"]:
        with _without_synchronization(self._model), _fresh_autocast():
            if self._closure is not None:
                evaluated = self._closure()
                self._drew(self._put_back())
                check_mapping(evaluated)
                losses = dict(evaluated)
                self._check_evaluated(losses)
            else:
                losses: dict[str, Tensor] = {}
                for task, loss in self._losses.items():
                    assert not isinstance(loss, Tensor)
                    losses[task] = loss()
                    self._drew(self._put_back())
            return self._vector(losses)

    def _drew(self, has_drawn: bool) -> None:
        self.has_drawn = self.has_drawn or has_drawn

    def _vector(self, losses: Mapping[str, Tensor]) -> Float[Tensor, " task"]:
        if len(losses) == len(self._tasks) and not self.missing:
            return torch.stack([losses[task] for task in self._tasks]).float()
        like = next(iter(losses.values()))
        missing = like.new_full((), torch.nan).detach().float()
        return torch.stack(
            [
                losses[task].float() if task in losses and task not in self.missing else missing
                for task in self._tasks
            ]
        )

    def _check_evaluated(self, losses: Mapping[str, Tensor]) -> None:
        for task, loss in losses.items():
            check_scalar(task, loss)
        if losses.keys() != self._losses.keys():
            raise InputError(
                f"Expected the closure to return the losses of {sorted(self._losses)}, as given to "
                f"observe, but got {sorted(losses)}."
            )


def is_without_labels(loss: float, gradient: Gradient) -> bool:
    """Whether a batch has no label of the task: its loss is exactly 0, and so is the gradient."""
    return loss == 0 and not any(part is not None and bool(part.any()) for part in gradient)


def check_losses(losses: Losses, tasks: tuple[str, ...] | None) -> None:
    """Losses of known tasks, each a scalar with a graph, or a function.

    Raises:
        InputError: If they are not.
    """
    check_mapping(losses)
    if not losses:
        raise InputError("Expected the losses of at least one task, but got none.")
    for task, loss in losses.items():
        if isinstance(loss, Tensor) or not callable(loss):
            check_loss(task, loss)
    unknown = [task for task in losses if tasks is not None and task not in tasks]
    if unknown:
        raise InputError(
            f"Expected losses of the tasks {tasks}, as at the first step, but got "
            f"{unknown} too. Where tasks come and go, name them all: Recorder(tasks=[...])."
        )


def check_mapping(losses: object) -> None:
    """Losses come by the names of their tasks.

    Raises:
        InputError: If they do not.
    """
    if not isinstance(losses, Mapping):
        raise InputError(
            "Expected losses by task, as {'depth': loss, 'edges': loss}, of observe and of its "
            f"closures, but got {type(losses).__name__}."
        )


def check_scalar(task: str, loss: object) -> None:
    """A loss is a scalar.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(loss, Tensor):
        raise InputError(
            f"Expected a tensor or a function as the loss of the task {task!r}, but got "
            f"{type(loss).__name__}: pass the loss itself, not loss.item()."
        )
    if loss.dim() != 0:
        raise InputError(
            f"Expected a scalar loss for the task {task!r}, but got the shape "
            f"{tuple(loss.shape)}: take its mean."
        )


def check_loss(task: str, loss: object) -> None:
    """A loss is a scalar with a graph.

    Raises:
        InputError: If it is not.
    """
    check_scalar(task, loss)
    assert isinstance(loss, Tensor)
    if not loss.requires_grad:
        raise InputError(
            f"Expected the loss of the task {task!r} with its graph, but it does not require "
            "gradients: pass the loss itself, not loss.detach(), and observe outside of "
            "torch.no_grad()."
        )


@contextlib.contextmanager
def _fresh_autocast() -> Generator[None]:
    """Let no cached low-precision copy of a parameter outlive a change of its values."""
    was_enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(was_enabled)


@contextlib.contextmanager
def _without_synchronization(model: nn.Module) -> Generator[None]:
    """A forward pass that DistributedDataParallel neither prepares nor remembers."""
    if not isinstance(model, nn.parallel.DistributedDataParallel):
        yield
        return
    does_synchronize = model.require_forward_param_sync
    model.require_forward_param_sync = False
    try:
        with model.no_sync():
            yield
    finally:
        model.require_forward_param_sync = does_synchronize
