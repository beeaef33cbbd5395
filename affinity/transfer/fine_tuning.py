"""Fine-tuning of your own module by a recipe: parameter groups, phases, and the L2-SP penalty."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from affinity.errors import InputError

from .blocks import blocks_of, scales_from_norms
from .recipes import Recipe
from .tuning_plan import Phase, TuningPlan


class FineTuning:
    """Applies a recipe to your own model and optimizer.

    ::

        tuning = FineTuning(model, RECIPES["linear probe then fine-tuning"], epochs=20)
        optimizer = torch.optim.AdamW(tuning.param_groups(learning_rate=1e-3))
        for epoch in range(20):
            model.train()
            tuning.begin_epoch(epoch, optimizer)  # for recipes with phases
            ...
            (loss + tuning.penalty()).backward()  # for recipes with a pull to the source

    Args:
        model: Has the weights of the source; its head may be new.
        recipe: A recipe, or an edited plan.
        epochs: Total number of epochs, for a recipe.
        blocks: Names of the model's parts from inputs to outputs, the head last; see `blocks_of`.
        norms: From `relative_gradient_norms`, for a plan that uses them.

    Raises:
        InputError: If the plan is for other blocks, needs norms, or re-initializes a block without
            `reset_parameters`.

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
                f"recipe {self.plan.recipe!r} uses: FineTuning(..., norms="
                "relative_gradient_norms(model, losses, blocks_of(model))).",
                "missing-norms",
            )
        self._norms = dict(norms or {})
        for block in self.plan.fresh:
            _reinitialize(model, block)
        parameters = dict(model.named_parameters())
        self._source = {
            name: parameters[name].detach().clone()
            for block, block_names in self.blocks.items()
            if self.plan.pull and block not in self.plan.fresh and block != names[-1]
            for name in block_names
        }
        self._freeze(self.plan.phases[0])

    def scales(self, phase: Phase) -> dict[str, float]:
        """The learning-rate scale of each block in a phase."""
        by_norm = scales_from_norms(self._norms, phase.by_gradient)
        return {
            name: scale * by_norm.get(name, 1.0)
            for name, scale in phase.learning_rate_scales.items()
        }

    def param_groups(
        self, learning_rate: float, is_scaled: bool = True, **settings: object
    ) -> list[dict[str, Any]]:
        """One parameter group per block, for any optimizer, with its `name`, `lr_scale` and `lr`.

        Args:
            learning_rate: Learning rate of a block with scale 1.
            is_scaled: Whether `lr` is already scaled. False for timm's schedulers, which scale it.
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
        """Freeze, unfreeze and set the learning rates of the blocks for this epoch, from 0.

        Call it after `model.train()`: the running statistics of frozen normalization layers stay
        unchanged. A learning-rate scheduler can be used as usual; one that computes rates from its
        own initial ones (`LambdaLR`) undoes the change of rates in a later phase.

        Args:
            epoch: After the last phase, the last phase continues.
            optimizer: Made from `param_groups`; None if the rates are set elsewhere.
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
        """The penalty on the distance from the source; 0 for recipes without a pull."""
        parameters = dict(self.model.named_parameters())
        squares = [(parameters[n] - value).square().sum() for n, value in self._source.items()]
        return self.plan.pull / 2 * torch.stack(squares).sum() if squares else 0.0

    def _first_scales(self) -> dict[str, float]:
        """The first scale above 0 of each block; 1 if it is always frozen."""
        first = dict.fromkeys(self.blocks, 0.0)
        for phase in self.plan.phases:
            first |= {name: s for name, s in self.scales(phase).items() if not first[name]}
        return {name: scale or 1.0 for name, scale in first.items()}

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
                    parameters[name].grad = None  # optimizers skip parameters without gradients
        for module in _frozen_norms(self.model):
            module.eval()


def _frozen_norms(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        parameters = list(module.parameters(recurse=False))
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage]
        if is_norm and parameters and not any(p.requires_grad for p in parameters):
            yield module


def _reinitialize(model: nn.Module, block: str) -> None:
    for name, module in model.named_modules():
        if name != block and not name.startswith(f"{block}."):
            continue
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        elif any(True for _ in module.parameters(recurse=False)):
            raise InputError(
                f"Expected the part {name!r} to have reset_parameters() to re-initialize it, but "
                f"{type(module).__name__} has none. Initialize it yourself, and remove it from "
                "`fresh` in the plan.",
                "no-reset-parameters",
            )
