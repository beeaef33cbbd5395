"""The step that a lookahead takes along one task's gradient."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from affinity.errors import InputError

from .gradients import Gradient
from .settings import StepKind

Step = Callable[[Sequence[Tensor], Gradient], None]
"""Writes the values after the step along a gradient into the parameters' data."""


@dataclass(frozen=True, eq=False)
class StepFrom:
    """Makes the step from the values that the shared parameters have at a measurement.

    Args:
        kind: ``"gradient"`` or ``"optimizer"``.
        rate: Of the plain step; without it, that of the optimizer as it stands, or 0.001.
        optimizer: The run's.
        shared: The shared parameters; empty at the representation.
    """

    kind: StepKind
    rate: float | None
    optimizer: Optimizer | None
    shared: Sequence[Tensor]

    def __call__(self, before: Sequence[Tensor]) -> Step:
        """The step from the values `before`."""
        if self.kind == "optimizer":
            assert self.optimizer is not None
            return OptimizerStep(self.optimizer, before)
        return GradientStep(self.learning_rate(), before)

    def learning_rate(self) -> float:
        """Of the plain step.

        Raises:
            InputError: If the optimizer trains none of the shared parameters.
        """
        if self.rate is not None:
            return self.rate
        if self.optimizer is None:
            return 0.001
        shared = {id(parameter) for parameter in self.shared}
        for group in self.optimizer.param_groups:
            if not shared or any(id(parameter) in shared for parameter in group["params"]):
                return float(group["lr"])
        raise InputError(
            "Expected the optimizer to train the shared parameters, but none of its groups holds "
            "one: pass the optimizer of this model, or learning_rate=..."
        )


@dataclass(frozen=True, eq=False)
class GradientStep:
    """A plain gradient step: no momentum, no weight decay, as in the TAG paper.

    Args:
        learning_rate: Length of the step.
        before: The values that every step starts from.

    Example:
        >>> trunk = torch.tensor([5.0])
        >>> GradientStep(0.5, [torch.tensor([1.0])])([trunk], [torch.tensor([2.0])])
        >>> trunk
        tensor([0.])
    """

    learning_rate: float
    before: Sequence[Tensor]

    def __call__(self, parameters: Sequence[Tensor], gradient: Gradient) -> None:
        """Write ``before - learning_rate * gradient``."""
        for parameter, value, part in zip(parameters, self.before, gradient, strict=True):
            if part is None:
                parameter.data.copy_(value)
            else:
                torch.add(
                    value, part.to(value.dtype), alpha=-self.learning_rate, out=parameter.data
                )


@dataclass(frozen=True, eq=False)
class OptimizerStep:
    """The step that the run's own optimizer would take on this gradient alone.

    Momentum, Adam's moments, weight decay and the learning rate of each parameter's group enter as
    they stand; the optimizer itself, its hooks and its scheduler are not touched. A shared
    parameter that the gradient does not reach stays.

    Args:
        optimizer: The run's optimizer.
        before: The values that every step starts from.

    Example:
        >>> trunk = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = torch.optim.Adam([trunk], lr=0.5)
        >>> OptimizerStep(optimizer, [trunk.detach().clone()])([trunk], [torch.tensor([30.0])])
        >>> trunk.item()  # Adam's first step is as long as its learning rate
        0.5
    """

    optimizer: Optimizer
    before: Sequence[Tensor]

    def __call__(self, parameters: Sequence[Tensor], gradient: Gradient) -> None:
        """Write what the optimizer would."""
        stand_ins = {
            id(parameter): value.clone().requires_grad_()
            for parameter, value in zip(parameters, self.before, strict=True)
        }
        for parameter, part in zip(parameters, gradient, strict=True):
            stand_in = stand_ins[id(parameter)]
            stand_in.grad = None if part is None else part.to(stand_in.dtype).clone()
        groups = [
            {**group, "params": [stand_ins[id(p)] for p in group["params"] if id(p) in stand_ins]}
            for group in self.optimizer.param_groups
        ]
        held = {
            id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]
        }
        if missing := [p for p in parameters if id(p) not in held]:
            raise InputError(
                f"Expected the optimizer to train every shared parameter, but {len(missing)} of "
                f"{len(parameters)} are in none of its groups: name the trained part with "
                'shared=..., or look ahead with step="gradient".'
            )
        state = {
            stand_ins[id(parameter)]: {
                name: value.clone() if isinstance(value, Tensor) else value
                for name, value in entry.items()
            }
            for parameter, entry in self.optimizer.state.items()
            if id(parameter) in stand_ins
        }
        # An optimizer made as unpickling makes it: the same class, without hooks or scheduler.
        stand_in_optimizer = object.__new__(type(self.optimizer))
        stand_in_optimizer.__setstate__(
            {
                "defaults": self.optimizer.defaults,
                "state": defaultdict(dict[str, object], state),
                "param_groups": [group for group in groups if group["params"]],
            }
        )
        with torch.enable_grad():
            stand_in_optimizer.step()
        for parameter in parameters:
            parameter.data.copy_(stand_ins[id(parameter)].detach())
