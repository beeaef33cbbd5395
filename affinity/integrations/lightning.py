"""Lightning callback: records the tasks' losses while a module is fitted."""

from collections.abc import Mapping
from functools import wraps
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from affinity.errors import InputError
from affinity.recording import Recorder, Trace
from affinity.recording.shared_parameters import Shared


class AffinityCallback(pl.Callback):
    """Record a fit with a `Recorder`; the fit stays bit for bit the same.

    ``training_step`` returns its tasks' losses in the dictionary with ``"loss"``, or sets them
    on the module::

        def training_step(self, batch, batch_idx):
            losses = {"depth": ..., "edges": ...}
            return {"loss": sum(losses.values()), "losses": losses}

    Accumulation, scaled losses and resuming from a Lightning checkpoint work without further
    settings. Each micro-batch counts as an observation.

    Args:
        shared: What the tasks share, as for `Recorder`; names start at the module:
            ``"net.trunk"``.
        losses: The key in the returned dictionary, or the attribute of the module.
        closure: Name of a method ``(batch, batch_idx) -> losses`` that evaluates them without side
            effects; needed for lookaheads. (``training_step`` itself may log.)
        **settings: Further settings of `Recorder`: ``every=50``, ``overhead=0.05``, ...
    """

    def __init__(
        self,
        shared: Shared = None,
        *,
        losses: str = "losses",
        closure: str | None = None,
        **settings: Any,
    ) -> None:
        self._shared = shared
        self._losses = losses
        self._closure = closure
        self._settings = settings
        self._recorder: Recorder | None = None
        self._step_losses: dict[str, Tensor] | None = None
        self._batch: tuple[object, int] | None = None

    @property
    def recorder(self) -> Recorder:
        """The recorder; it exists once fitting has begun."""
        if self._recorder is None:
            raise InputError(
                "Expected a fit that has begun: call trainer.fit(...) first.", "not-begun"
            )
        return self._recorder

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self.recorder.trace()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Wrap ``training_step``, to read the losses that it computes."""
        if stage != "fit":
            return
        if not pl_module.automatic_optimization:
            raise InputError(
                "Expected automatic optimization, but the module optimizes manually: call "
                "Recorder.observe(losses) before manual_backward instead of using this callback.",
                "manual-optimization",
            )
        if self._recorder is None:
            self._recorder = Recorder(pl_module, self._shared, **self._settings)
        step = pl_module.training_step

        @wraps(step)
        def wrapper(*args: object, **kwargs: object) -> STEP_OUTPUT:
            return self._take_losses(pl_module, step(*args, **kwargs))

        pl_module.training_step = wrapper

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Unwrap ``training_step``."""
        pl_module.__dict__.pop("training_step", None)
        self._step_losses = self._batch = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass the optimizer, which exists now, to the recorder."""
        if "optimizer" not in self._settings and len(trainer.optimizers) == 1:
            self.recorder.optimizer = trainer.optimizers[0]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Keep the batch for the lookahead."""
        self._batch = (batch, batch_idx)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Observe the losses as the module computed them, before scaling and accumulation."""
        losses, self._step_losses = self._step_losses, None
        if losses is None:
            raise InputError(
                f"Expected training_step to return its tasks' losses as {self._losses!r} together "
                f"with 'loss', or to set self.{self._losses}, but there is no such entry.",
                "missing-losses",
            )
        if self._closure is None or self._batch is None:
            self.recorder.observe(losses)
            return
        evaluate, batch = getattr(pl_module, self._closure), self._batch

        def closure() -> Mapping[str, Tensor]:
            with trainer.precision_plugin.forward_context():
                return evaluate(*batch)

        self.recorder.observe(losses, closure=closure)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any, **kwargs: Any
    ) -> None:
        """Release the batch."""
        self._batch = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report what recording cost."""
        if trainer.is_global_zero and self.recorder.cost.measurements:
            rank_zero_info(self.recorder.describe())

    def state_dict(self) -> dict[str, Tensor | str]:
        """The recorder's state, for Lightning's checkpoint."""
        return {} if self._recorder is None else self._recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Tensor | str]) -> None:
        """Continue from the checkpoint."""
        if state_dict:
            self.recorder.load_state_dict(state_dict)

    def _take_losses(self, module: pl.LightningModule, output: STEP_OUTPUT) -> STEP_OUTPUT:
        """Keep the losses for the next backward pass, and detach those that Lightning gets."""
        if isinstance(output, dict) and self._losses in output:
            entries = cast("dict[str, object]", output)
            self._step_losses = dict(cast("Mapping[str, Tensor]", entries[self._losses]))
            return {**entries, self._losses: _detached(self._step_losses)}
        if hasattr(module, self._losses):
            self._step_losses = dict(getattr(module, self._losses))
            setattr(module, self._losses, _detached(self._step_losses))
        return output


def _detached(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {task: loss.detach() for task, loss in losses.items()}
