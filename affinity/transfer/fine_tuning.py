"""Fine-tuning of a module of one's own by a recipe: parameter groups, phases, the pull."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from affinity.errors import InputError

from .blocks import blocks_of
from .recipes import Recipe
from .relative_gradients import rates_of
from .tuning_plan import Phase, TuningPlan


class FineTuning:
    """A recipe at work on a user's own model and optimizer.

    ::

        tuning = FineTuning(model, RECIPES["linear probe then fine-tuning"], epochs=20)
        optimizer = torch.optim.AdamW(tuning.param_groups(learning_rate=1e-3))
        for epoch in range(20):
            model.train()
            tuning.begin_epoch(epoch, optimizer)  # where the recipe has phases
            ...
            (loss + tuning.penalty()).backward()  # where it draws to the source

    Args:
        model: Starts from the source: its weights are loaded before. Its head may be new.
        recipe: A recipe, or a plan that a person edited.
        epochs: All phases together, for a recipe.
        blocks: Names of the model's parts from inputs to outputs, the head last; see `blocks_of`.
        norms: `relative_gradient_norms`, for a plan that goes by them.

    Raises:
        InputError: If the plan is for other blocks, needs norms, or starts a block afresh that has
            no `reset_parameters`.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        >>> from affinity.transfer import LayerwiseDecay
        >>> tuning = FineTuning(model, LayerwiseDecay(0.5))
        >>> [(g["name"], g["lr_scale"], g["lr"]) for g in tuning.param_groups(learning_rate=0.5)]
        [('0', 0.5, 0.25), ('2', 1.0, 0.5)]
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe | TuningPlan,
        epochs: int = 100,
        blocks: Sequence[str] | None = None,
        norms: Mapping[str, float] | None = None,
    ) -> None:
        self.model = model
        self.blocks = blocks_of(model, blocks)
        names = list(self.blocks)
        self.plan = recipe if isinstance(recipe, TuningPlan) else recipe(names, epochs)
        self.plan.check_blocks(names)
        by_gradient = [block for phase in self.plan.phases for block in phase.by_gradient]
        if by_gradient and not set(by_gradient) <= set(norms or {}):
            raise InputError(
                f"Expected the relative gradient norms of the blocks {by_gradient}, which the "
                f"recipe {self.plan.recipe!r} goes by: FineTuning(..., norms="
                "relative_gradient_norms(model, losses, blocks_of(model)))."
            )
        self._norms = dict(norms or {})
        for block in self.plan.fresh:
            _start_afresh(model, block)
        parameters = dict(model.named_parameters())
        self._source = {
            name: parameters[name].detach().clone()
            for block, own in self.blocks.items()
            if self.plan.pull and block not in self.plan.fresh and block != names[-1]
            for name in own
        }
        self._freeze(self.plan.phases[0])

    def scales(self, phase: Phase) -> dict[str, float]:
        """Of the learning rate of each block in a phase."""
        rates = rates_of(self._norms, phase.by_gradient)
        return {name: scale * rates.get(name, 1.0) for name, scale in phase.scales.items()}

    def param_groups(
        self, learning_rate: float, is_scaled: bool = True, **settings: Any
    ) -> list[dict[str, Any]]:
        """A parameter group a block, for any optimizer, with its `name`, `lr_scale` and `lr`.

        Args:
            learning_rate: Of a block whose scale is 1.
            is_scaled: Whether `lr` is scaled already. timm's schedulers scale it themselves: False.
            **settings: More entries of every group.
        """
        parameters = dict(self.model.named_parameters())
        scales = self._first_scales()
        return [
            {
                "params": [parameters[name] for name in names],
                "name": block,
                "lr_scale": scales[block],
                "lr": learning_rate * (scales[block] if is_scaled else 1.0),
                **settings,
            }
            for block, names in self.blocks.items()
        ]

    def begin_epoch(self, epoch: int, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Freeze, thaw and pace the blocks for this epoch, counted from 0.

        Call it after `model.train()`: running statistics of frozen normalizations are kept. A
        learning-rate scheduler may go on as it does; one that computes rates from its own first
        ones (`LambdaLR`) undoes the change of pace of a later phase.

        Args:
            epoch: Beyond the last phase it stays the last one.
            optimizer: Made of `param_groups`; None where the rates are set elsewhere.
        """
        phase = self._phase_at(epoch)
        self._freeze(phase)
        scales = self.scales(phase)
        for group in optimizer.param_groups if optimizer is not None else ():
            scale = scales.get(group.get("name", ""), 0.0)
            if scale and scale != group["lr_scale"]:
                group["lr"] *= scale / group["lr_scale"]
                group["lr_scale"] = scale

    def penalty(self) -> Tensor | float:
        """What draws the model to its source; 0 where the recipe does not."""
        own = dict(self.model.named_parameters())
        squares = [(own[name] - value).square().sum() for name, value in self._source.items()]
        return self.plan.pull / 2 * torch.stack(squares).sum() if squares else 0.0

    def _first_scales(self) -> dict[str, float]:
        """The scale with which each block moves first; 1 where it never does."""
        found = dict.fromkeys(self.blocks, 0.0)
        for phase in self.plan.phases:
            found |= {name: s for name, s in self.scales(phase).items() if not found[name]}
        return {name: scale or 1.0 for name, scale in found.items()}

    def _phase_at(self, epoch: int) -> Phase:
        end = 0
        for phase in self.plan.phases:
            end += phase.epochs
            if epoch < end:
                return phase
        return self.plan.phases[-1]

    def _freeze(self, phase: Phase) -> None:
        parameters = dict(self.model.named_parameters())
        scales = self.scales(phase)
        for block, names in self.blocks.items():
            for name in names:
                parameters[name].requires_grad_(scales[block] > 0)
                if not scales[block]:
                    parameters[name].grad = None  # optimizers leave out what has no gradient
        for module in _frozen_norms(self.model):
            module.eval()


def _frozen_norms(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage]
        if is_norm and own and not any(each.requires_grad for each in own):
            yield module


def _start_afresh(model: nn.Module, block: str) -> None:
    for name, module in model.named_modules():
        if name != block and not name.startswith(f"{block}."):
            continue
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        elif any(True for _ in module.parameters(recurse=False)):
            raise InputError(
                f"Expected the part {name!r} to have reset_parameters(), by which it can start "
                f"afresh, but {type(module).__name__} has none. Initialize it yourself, and leave "
                "it out of the plan's fresh blocks."
            )
