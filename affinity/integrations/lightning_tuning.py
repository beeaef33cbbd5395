"""Lightning callback that fine-tunes a module by a recipe."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch

from affinity.errors import InputError
from affinity.transfer import FineTuning, Recipe, TuningPlan


class FineTuningCallback(pl.Callback):
    """Fine-tune a Lightning module, which has the weights of a source, by a recipe.

    ::

        trainer = pl.Trainer(max_epochs=20, callbacks=[FineTuningCallback(ProbeThenTune())])

    The module's optimizer keeps its settings; its parameters are split into one group per block.
    Blocks are frozen and unfrozen at the start of epochs; the gradient of the L2-SP penalty is
    added to the gradients of the loss.

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

    @property
    def tuning(self) -> FineTuning:
        """The recipe applied to the module; available once fitting has started."""
        if self._tuning is None:
            raise InputError("Fitting has not started: call trainer.fit(...) first.", "not-fitted")
        return self._tuning

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Split the optimizer's parameters into one group per block."""
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 100
        self._tuning = FineTuning(pl_module, self._recipe, epochs, self._blocks, self._norms)
        if len(trainer.optimizers) != 1:
            raise InputError(
                f"Expected one optimizer for a recipe, but the module has "
                f"{len(trainer.optimizers)}.",
                "several-optimizers",
            )
        (optimizer,) = trainer.optimizers
        if len(optimizer.param_groups) != 1:
            raise InputError(
                "Expected an optimizer with one parameter group, which the recipe splits into "
                f"blocks, but it has {len(optimizer.param_groups)}.",
                "several-parameter-groups",
            )
        settings = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        groups = self.tuning.param_groups(settings["lr"])
        optimizer.param_groups[:] = [
            {**settings, **group, "initial_lr": group["lr"]} for group in groups
        ]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze, unfreeze and set the learning rates of the blocks."""
        self.tuning.begin_epoch(trainer.current_epoch, trainer.optimizers[0])

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
