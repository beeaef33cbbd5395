"""Fine-tuning of your own module by a recipe: parameter groups, phases, and the L2-SP penalty."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from affinity.errors import InputError

from .blocks import block_prefixes, blocks_of, is_within, scales_from_norms
from .recipes import Recipe
from .tuning_plan import Phase, TuningPlan


class FineTuning:
    """Applies a recipe to your own model and optimizer, with any learning-rate scheduler.

    ::

        tuning = FineTuning(model, RECIPES["linear probe then fine-tuning"], epochs=20)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        tuning.attach(optimizer)
        for epoch in range(20):
            model.train()
            tuning.begin_epoch(epoch)  # freezes and unfreezes blocks
            ...
            (loss + tuning.penalty()).backward()  # for recipes with a pull to the source
            optimizer.step()

    The optimizer's groups and their learning rates stay as you and your scheduler set them. Only
    while the optimizer steps, each parameter's rate is multiplied by the scale of its block.

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
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> tuning.attach(optimizer)
        >>> tuning.learning_rates(optimizer)
        {'0': 0.25, '2': 0.5}
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
        self._prefixes = block_prefixes(model, blocks)
        for block in self.plan.fresh:
            _reinitialize(model, self._prefixes[block])
        parameters = dict(model.named_parameters())
        self.source = {
            name: parameters[name].detach().clone()
            for block, block_names in self.blocks.items()
            if self.plan.pull and block not in self.plan.fresh and block != names[-1]
            for name in block_names
        }
        self._optimizers: list[torch.optim.Optimizer] = []
        self._unscaled_groups: dict[int, list[dict[str, Any]]] = {}
        self._stopped_norms: set[str] = set()
        self._start(self.plan.phases[0])

    def attach(self, *optimizers: torch.optim.Optimizer) -> None:
        """Scale the learning rates of these optimizers at each of their steps.

        Args:
            *optimizers: Together, they have all parameters that the plan ever trains.

        Raises:
            InputError: If a block that the plan trains has parameters in none of them, or an
                optimizer such as LBFGS has only one learning rate and the plan needs several.
        """
        known = {
            id(p) for optimizer in optimizers for g in optimizer.param_groups for p in g["params"]
        }
        parameters = dict(self.model.named_parameters())
        missing = [
            block
            for block, names in self.blocks.items()
            if any(self.scales(phase)[block] for phase in self.plan.phases)
            and not all(id(parameters[name]) in known for name in names)
        ]
        if missing:
            raise InputError(
                f"Expected an optimizer with all parameters that the recipe {self.plan.recipe!r} "
                f"trains, but some of the blocks {missing} are missing. Give it all parameters, "
                "also those that are frozen at first: AdamW(model.parameters(), ...).",
                "missing-parameters",
            )
        for optimizer in optimizers:
            rates = {s for phase in self.plan.phases for s in self.scales(phase).values() if s}
            if isinstance(optimizer, torch.optim.LBFGS) and rates != {1.0}:
                raise InputError(
                    f"Expected an optimizer with a learning rate per group for the recipe "
                    f"{self.plan.recipe!r}, but LBFGS has one rate for all parameters.",
                    "one-learning-rate",
                )
            if optimizer not in self._optimizers:
                self._optimizers.append(optimizer)
                optimizer.register_step_pre_hook(self._scale_groups)
                optimizer.register_step_post_hook(self._restore_groups)

    def begin_epoch(self, epoch: int) -> None:
        """Freeze and unfreeze blocks for this epoch, from 0; their scales hold from now on.

        Call it after `model.train()`: the running statistics of frozen normalization layers stay
        unchanged.

        Args:
            epoch: After the last phase, the last phase continues.

        Raises:
            InputError: If no optimizer was attached.
        """
        if not self._optimizers:
            raise InputError(
                "Expected the optimizer before the first epoch: tuning.attach(optimizer).",
                "no-optimizer",
            )
        end = 0
        for phase in self.plan.phases:
            end += phase.epochs
            if epoch < end:
                break
        else:
            phase = self.plan.phases[-1]
        self._start(phase)

    def scales(self, phase: Phase) -> dict[str, float]:
        """The learning-rate scale of each block in a phase."""
        by_norm = scales_from_norms(self._norms, phase.by_gradient)
        return {
            name: scale * by_norm.get(name, 1.0)
            for name, scale in phase.learning_rate_scales.items()
        }

    def learning_rates(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """The rate that each block's parameters are trained at in the next step; 0 if frozen.

        The largest one where parameters of a block are in groups with different rates.
        """
        self._restore_groups(optimizer)
        rate_of = {id(p): float(g["lr"]) for g in optimizer.param_groups for p in g["params"]}
        parameters = dict(self.model.named_parameters())
        return {
            block: self._scales[block]
            * max((rate_of.get(id(parameters[name]), 0.0) for name in names), default=0.0)
            for block, names in self.blocks.items()
        }

    def penalty(self) -> Tensor | float:
        """The penalty on the distance from the source; 0 for recipes without a pull."""
        parameters = dict(self.model.named_parameters())
        squares = [(parameters[n] - value).square().sum() for n, value in self.source.items()]
        return self.plan.pull / 2 * torch.stack(squares).sum() if squares else 0.0

    def _start(self, phase: Phase) -> None:
        parameters = dict(self.model.named_parameters())
        self._scales = self.scales(phase)
        for block, names in self.blocks.items():
            for name in names:
                parameters[name].requires_grad_(self._scales[block] > 0)
                if not self._scales[block]:
                    parameters[name].grad = None  # optimizers skip parameters without gradients
        for block, prefixes in self._prefixes.items():
            for name, module in self.model.named_modules():
                has_statistics = getattr(module, "running_mean", None) is not None
                if has_statistics and is_within(name, prefixes):
                    self._set_mode(name, module, is_frozen=not self._scales[block])

    def _set_mode(self, name: str, module: nn.Module, is_frozen: bool) -> None:
        """Stop the running statistics of a frozen layer, and restart those stopped before."""
        if is_frozen and module.training:
            self._stopped_norms.add(name)
            module.eval()
        elif not is_frozen and name in self._stopped_norms:
            self._stopped_norms.remove(name)
            module.train(self.model.training)

    def _scale_groups(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        """Replace the groups for one step by smaller ones, each with its own learning rate."""
        self._restore_groups(optimizer)  # of a step that an error ended
        parameters = dict(self.model.named_parameters())
        scale_of = {
            id(parameters[name]): self._scales[block]
            for block, names in self.blocks.items()
            for name in names
        }
        self._unscaled_groups[id(optimizer)] = optimizer.param_groups
        optimizer.param_groups = []
        for group in self._unscaled_groups[id(optimizer)]:
            parts: dict[float, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                parts.setdefault(scale_of.get(id(parameter), 1.0), []).append(parameter)
            optimizer.param_groups += [
                {**group, "params": members, "lr": group["lr"] * scale}
                for scale, members in parts.items()
            ]

    def _restore_groups(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        groups = self._unscaled_groups.pop(id(optimizer), None)
        if groups is not None:
            optimizer.param_groups = groups


def _reinitialize(model: nn.Module, prefixes: Sequence[str]) -> None:
    for name, module in model.named_modules():
        if not is_within(name, prefixes):
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
