"""Lightning callback: records the tasks' losses while a module is fitted."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from affinity.errors import InputError
from affinity.recording import Recorder, TaskLabels, rows_by_task
from affinity.recording.batch import TaskLosses
from affinity.recording.shared_parameters import Shared, selected_parameters

from .rows import (
    LatestRows,
    RecordingCallback,
    TaskOfBatch,
    check_tasks_are_named,
    labels_of,
    warn_of_missing_pairs,
)


class AffinityCallback(RecordingCallback, pl.Callback):
    """Record a fit with a `Recorder`; the fit stays bit for bit the same.

    ``training_step`` returns its tasks' losses in the dictionary with ``"loss"``, or sets them
    on the module::

        def training_step(self, batch, batch_idx):
            losses = {"depth": ..., "edges": ...}
            return {"loss": sum(losses.values()), "losses": losses}

    Accumulation, scaled losses and resuming from a Lightning checkpoint work without further
    settings. Each micro-batch counts as an observation. With manual optimization,
    ``training_step`` calls `observe` before ``manual_backward``.

    Where each batch belongs to one task, or each row to one, `task` says which; the step's loss is
    then that of the batch. With `closure`, the latest batch of every task is kept, and each
    measurement evaluates every task on its own rows. Without, pairs of tasks are measured across
    consecutive steps.

    Args:
        shared: What the tasks share, as for `Recorder`; names start at the module:
            ``"net.trunk"``.
        losses: The key in the returned dictionary, or the attribute of the module.
        closure: Name of a method ``(batch, batch_idx) -> losses`` that evaluates them without side
            effects; needed for lookaheads. (``training_step`` itself may log.) With `task`, it
            returns the loss of the batch.
        task: The column of the batch, or a function of the batch, with the task of the batch or of
            each row: names, or positions in ``tasks``.
        loss_by_row: With `task`: the key or the attribute that holds one loss per row, for batches
            with rows of several tasks; then `closure` returns one loss per row, too.
        **settings: Further settings of `Recorder`: ``every=50``, ``overhead=0.05``, ...; with
            `task`, ``tasks=[...]`` names all of them.

    Raises:
        InputError: If `task` is given without ``tasks=[...]``.
    """

    def __init__(
        self,
        shared: Shared = None,
        *,
        losses: str = "losses",
        closure: str | None = None,
        task: TaskOfBatch | None = None,
        loss_by_row: str | None = None,
        **settings: Any,
    ) -> None:
        check_tasks_are_named(task, settings)
        self._shared = shared
        self._losses = losses
        self._closure = closure
        self._task = task
        self._loss_by_row = loss_by_row
        self._settings = settings
        self._step_losses: object = None
        self._batch: tuple[object, int] | None = None
        self._kept = LatestRows()
        self._module: pl.LightningModule | None = None
        self._saved: dict[str, Tensor | str] = {}  # read from a checkpoint before the fit
        self._own: dict[str, Any] | None = None  # a `training_step` that the user set on the module

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wrap ``training_step``, to read the losses that it computes.

        Not in ``setup``: the module may make its layers in its own, and optimizers come later.
        """
        if self._recorder is None or self._module is not pl_module:
            self._module = pl_module
            settings: dict[str, Any] = {
                "optimizer": self._optimizer_of(trainer, pl_module),
                **self._settings,
            }
            self._recorder = Recorder(pl_module, self._shared, **settings)
        elif "optimizer" not in self._settings:
            self._recorder.optimizer = self._optimizer_of(trainer, pl_module)
        if not pl_module.automatic_optimization:
            return  # the module calls `observe`
        step = pl_module.training_step
        self._own = {name: own for name, own in vars(pl_module).items() if name == "training_step"}

        @wraps(step)
        def wrapper(*args: object, **kwargs: object) -> STEP_OUTPUT:
            return self._take_losses(pl_module, step(*args, **kwargs))

        pl_module.training_step = wrapper

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Unwrap ``training_step``."""
        if self._own is not None:
            vars(pl_module).pop("training_step", None)
            vars(pl_module).update(self._own)
            self._own = None
        self._step_losses = self._batch = None
        self._kept = LatestRows()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue from the checkpoint that Lightning has read."""
        saved, self._saved = self._saved, {}
        if saved:
            self.recorder.load_state_dict(saved)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Keep the batch for the lookahead."""
        self._batch = (batch, batch_idx)

    def observe(
        self,
        losses: TaskLosses | Tensor,
        closure: Callable[[], Any] | None = None,
        *,
        task: TaskLabels | None = None,
    ) -> None:
        """Observe a step of manual optimization; call before ``manual_backward``.

        The arguments are those of `Recorder.observe`: losses not yet weighted, scaled or divided.
        """
        self.recorder.observe(losses, closure, task=task)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Observe the losses as the module computed them, before scaling and accumulation."""
        if not pl_module.automatic_optimization:
            return
        losses, self._step_losses = self._step_losses, None
        if losses is None:
            name = self._loss_by_row or ("loss" if self._task is not None else self._losses)
            raise InputError(
                f"Expected training_step to return its losses as {name!r} (together with 'loss'), "
                f"or to set self.{name}, but there is no such entry.",
                "missing-losses",
            )
        assert self._batch is not None
        batch, index = self._batch

        def evaluate(batch: object) -> Any:
            with trainer.precision_plugin.forward_context():
                return getattr(pl_module, str(self._closure))(batch, index)

        closure = None if self._closure is None else lambda: evaluate(batch)
        if self._task is None:
            self.recorder.observe(cast("TaskLosses", losses), closure)
            return
        labels = labels_of(batch, self._task)
        if self._loss_by_row is None and self._closure is not None:
            self._kept.add(batch, rows_by_task(labels, self._settings["tasks"]))
            self.recorder.observe(self._kept.losses(evaluate))
        else:
            self.recorder.observe(cast("Tensor", losses), closure, task=cast("TaskLabels", labels))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Release the batch."""
        self._batch = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report what recording cost, and warn if no pair of tasks was measured."""
        if trainer.is_global_zero:
            warn_of_missing_pairs(self.recorder)
            if self.recorder.cost.measurements:
                rank_zero_info(self.recorder.describe())

    def state_dict(self) -> dict[str, Tensor | str]:
        """The recorder's state, for Lightning's checkpoint."""
        return {} if self._recorder is None else self._recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Tensor | str]) -> None:
        """Continue from the checkpoint, once training starts."""
        self._saved = state_dict

    def _optimizer_of(
        self, trainer: pl.Trainer, module: pl.LightningModule
    ) -> torch.optim.Optimizer | None:
        """The optimizer; of several, the one that trains what is shared, if there is only one."""
        optimizers = list(trainer.optimizers)
        if len(optimizers) > 1:
            shared = {id(each) for each in selected_parameters(module, self._shared).values()}
            optimizers = [
                optimizer
                for optimizer in optimizers
                if any(id(p) in shared for group in optimizer.param_groups for p in group["params"])
            ]
        return optimizers[0] if len(optimizers) == 1 else None

    def _take_losses(self, module: pl.LightningModule, output: STEP_OUTPUT) -> STEP_OUTPUT:
        """Keep the losses for the next backward pass, and detach those that Lightning gets."""
        entries = cast("dict[str, object]", output) if isinstance(output, Mapping) else {}
        if self._task is not None and self._loss_by_row is None:
            self._step_losses = entries.get("loss") if entries else output
            return output
        name = self._loss_by_row or self._losses
        if name in entries:
            self._step_losses = entries[name]
            return cast("STEP_OUTPUT", {**entries, name: _detached(entries[name])})
        if _has_graph(value := getattr(module, name, None)):
            self._step_losses = dict(value) if isinstance(value, Mapping) else value
            setattr(module, name, _detached(value))
        return output


def _has_graph(losses: object) -> bool:
    """Whether these are losses of this step, not those that were detached after the last one."""
    if isinstance(losses, Mapping):
        return any(_has_graph(loss) for loss in cast("Mapping[str, object]", losses).values())
    return isinstance(losses, Tensor) and losses.requires_grad


def _detached(losses: object) -> object:
    if isinstance(losses, Mapping):
        by_task = cast("Mapping[str, object]", losses).items()
        return {task: _detached(loss) for task, loss in by_task}
    return losses.detach() if isinstance(losses, Tensor) else losses
