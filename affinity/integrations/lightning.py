"""A door into Lightning: a callback that records tasks' losses while a module is fitted."""

from collections.abc import Mapping
from functools import wraps
from typing import Any, cast

import lightning.pytorch as pl
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from affinity.errors import InputError
from affinity.recording import Recorder, Trace
from affinity.recording.shared_parameters import Shared


class AffinityCallback(pl.Callback):
    """Record a fit: the same fit, bit for bit, with a `Recorder` before its backward passes.

    ``training_step`` returns its tasks' losses in the dictionary beside ``"loss"``, or sets them
    on the module::

        def training_step(self, batch, batch_idx):
            losses = {"depth": ..., "edges": ...}
            return {"loss": sum(losses.values()), "losses": losses}

    Accumulation, scaled losses and resuming from a Lightning checkpoint need nothing more. Each
    micro-batch counts as an observation.

    Args:
        shared: What the tasks share, as `Recorder` takes it; names start at the module:
            ``"net.trunk"``.
        losses: The key in the returned dictionary, or the attribute of the module.
        closure: Name of a method ``(batch, batch_idx) -> losses`` that evaluates them without side
            effects; it makes lookaheads possible. (``training_step`` itself may log.)
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
        self._seen: dict[str, Tensor] | None = None
        self._batch: tuple[Any, int] | None = None

    @property
    def recorder(self) -> Recorder:
        """The recorder; there is one once fitting has begun."""
        if self._recorder is None:
            raise InputError("Expected a fit that has begun: call trainer.fit(...) first.")
        return self._recorder

    def trace(self) -> Trace:
        """What was recorded so far."""
        return self.recorder.trace()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stand before ``training_step``, to see the losses that it makes."""
        if stage != "fit":
            return
        if not pl_module.automatic_optimization:
            raise InputError(
                "Expected automatic optimization, but the module optimizes manually: call "
                "Recorder.observe(losses) before manual_backward instead of this callback."
            )
        if self._recorder is None:
            self._recorder = Recorder(pl_module, self._shared, **self._settings)
        step = pl_module.training_step

        @wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = step(*args, **kwargs)
            return self._see(pl_module, output)

        pl_module.training_step = watched

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        pl_module.__dict__.pop("training_step", None)
        self._seen = self._batch = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The optimizers are made by now."""
        if "optimizer" not in self._settings and len(trainer.optimizers) == 1:
            self.recorder.optimizer = trainer.optimizers[0]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch for the lookahead."""
        self._batch = (batch, batch_idx)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Observe the losses as the module made them, before scaling and accumulation."""
        losses, self._seen = self._seen, None
        if losses is None:
            raise InputError(
                f"Expected training_step to return its tasks' losses as {self._losses!r} beside "
                f"'loss', or to set self.{self._losses}, but there is no such entry."
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
        """Let go of the batch."""
        self._batch = None

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what recording cost."""
        if trainer.is_global_zero and self.recorder.cost.measurements:
            rank_zero_info(self.recorder.describe())

    def state_dict(self) -> dict[str, Any]:
        """The recorder's state, for Lightning's checkpoint."""
        return {} if self._recorder is None else dict(self._recorder.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was written."""
        if state_dict:
            self.recorder.load_state_dict(state_dict)

    def _see(self, module: pl.LightningModule, output: Any) -> Any:
        """Take the losses; nobody after us needs their graph."""
        if isinstance(output, dict) and self._losses in output:
            entries = cast("dict[str, Any]", output)
            self._seen = dict(entries[self._losses])
            detached = {task: loss.detach() for task, loss in self._seen.items()}
            return {**entries, self._losses: detached}
        if hasattr(module, self._losses):
            self._seen = dict(getattr(module, self._losses))
            setattr(module, self._losses, {t: loss.detach() for t, loss in self._seen.items()})
        return output
