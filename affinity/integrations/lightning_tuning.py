"""A door into Lightning for recipes: a callback that fine-tunes a module by phases."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch

from affinity.errors import InputError
from affinity.transfer import FineTuning, Recipe, TuningPlan


class FineTuningCallback(pl.Callback):
    """Tune a Lightning module, whose weights come from a source, by a recipe.

    ::

        trainer = pl.Trainer(max_epochs=20, callbacks=[FineTuningCallback(ProbeThenTune())])

    The optimizer that the module makes keeps its settings; its parameters are parted into a group
    a block. Blocks are frozen and thawed at the start of epochs, the pull to the source is added
    to the gradients as its own gradient.

    Args:
        recipe: A recipe, or a plan that a person edited.
        blocks: Names of the module's parts from inputs to outputs, the head last.
        norms: `relative_gradient_norms`, for a recipe that goes by them.
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
        """The recipe at work; there is one once fitting has begun."""
        if self._tuning is None:
            raise InputError("Expected a fit that has begun: call trainer.fit(...) first.")
        return self._tuning

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Part the optimizer's parameters into a group a block."""
        epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 100
        self._tuning = FineTuning(pl_module, self._recipe, epochs, self._blocks, self._norms)
        if len(trainer.optimizers) != 1:
            raise InputError(
                f"Expected one optimizer to tune by a recipe, but the module makes "
                f"{len(trainer.optimizers)}."
            )
        (optimizer,) = trainer.optimizers
        if len(optimizer.param_groups) != 1:
            raise InputError(
                "Expected an optimizer of one parameter group, which the recipe parts into blocks, "
                f"but it has {len(optimizer.param_groups)}."
            )
        before = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        groups = self.tuning.param_groups(before["lr"])
        optimizer.param_groups[:] = [
            {**before, **group, "initial_lr": group["lr"]} for group in groups
        ]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze, thaw and pace the blocks."""
        self.tuning.begin_epoch(trainer.current_epoch, trainer.optimizers[0])

    def on_before_optimizer_step(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        optimizer: torch.optim.Optimizer,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Add the gradient of the pull."""
        penalty = self.tuning.penalty()
        if isinstance(penalty, torch.Tensor) and penalty.requires_grad:
            penalty.backward()
