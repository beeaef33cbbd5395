"""Lightning callback that fine-tunes a module by a recipe."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch

from affinity.errors import InputError
from affinity.transfer import FineTuning, Recipe, TuningPlan, blocks_of


class FineTuningCallback(pl.Callback):
    """Fine-tune a Lightning module, which has the weights of a source, by a recipe.

    ::

        trainer = pl.Trainer(max_epochs=20, callbacks=[FineTuningCallback(ProbeThenTune())])

    The module's optimizers and schedulers stay as `configure_optimizers` made them; while an
    optimizer steps, each parameter's rate is multiplied by the scale of its block. Blocks are
    frozen and unfrozen at the start of epochs; the gradient of the L2-SP penalty is added to the
    gradients of the loss. A fit that continues from a checkpoint keeps its source, and
    re-initializes nothing.

    Args:
        recipe: A recipe, or an edited plan.
        blocks: Names of the module's parts from inputs to outputs, the head last.
        norms: From `relative_gradient_norms`, for a recipe that uses them.
    """

    def __init__(
        self,
        recipe: Recipe | TuningPlan,
        blocks: Sequence[str] | None = None,
        norms: Mapping[str, float] | None = None,
    ) -> None:
        self._recipe = recipe
        self._blocks = blocks
        self._norms = norms
        self._tuning: FineTuning | None = None
        self._saved_source: dict[str, torch.Tensor] | None = None

    @property
    def tuning(self) -> FineTuning:
        """The recipe applied to the module; available once fitting has started."""
        if self._tuning is None:
            raise InputError("Fitting has not started: call trainer.fit(...) first.", "not-fitted")
        return self._tuning

    def state_dict(self) -> dict[str, Any]:
        """The source that L2-SP pulls to, for checkpoints."""
        return {"source": self.tuning.source} if self._tuning else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._saved_source = state_dict.get("source")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Apply the recipe to the module and its optimizers."""
        recipe = self._recipe
        if not isinstance(recipe, TuningPlan):
            recipe = recipe(list(blocks_of(pl_module, self._blocks)), _count_epochs(trainer))
        saved = self._saved_source
        plan = recipe if saved is None else replace(recipe, fresh=())
        self._tuning = FineTuning(pl_module, plan, blocks=self._blocks, norms=self._norms)
        if saved is not None:
            self._tuning.source = {name: t.to(pl_module.device) for name, t in saved.items()}
        self.tuning.attach(*trainer.optimizers)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze and unfreeze blocks."""
        self.tuning.begin_epoch(trainer.current_epoch)

    def on_before_optimizer_step(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        optimizer: torch.optim.Optimizer,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Add the gradient of the L2-SP penalty."""
        penalty = self.tuning.penalty()
        if isinstance(penalty, torch.Tensor) and penalty.requires_grad:
            penalty.backward()


def _count_epochs(trainer: pl.Trainer) -> int:
    """The epochs of this fit, also where its length is given in steps."""
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        return trainer.max_epochs
    steps = trainer.estimated_stepping_batches  # reads the data
    if not math.isfinite(steps):
        raise InputError(
            "Expected a fit of known length, since the recipe divides it into phases: "
            "Trainer(max_epochs=...).",
            "unknown-length",
        )
    batches = trainer.num_training_batches / trainer.accumulate_grad_batches
    return max(1, math.ceil(steps / batches))
