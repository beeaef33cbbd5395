"""Lookahead: the loss of every task after a gradient step for a single task."""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only

from affinity.errors import InputError

Step = Callable[[Sequence[Tensor], Iterable[Tensor | None]], None]
"""Writes the values after the step along a gradient into the parameters' data."""


def lookahead_losses(
    evaluations: Sequence[Callable[[], Float[Tensor, " task"]]],
    shared: Sequence[Tensor],
    gradient: Iterable[Tensor | None],
    step: Step,
) -> list[Float[Tensor, " target"]]:
    r"""Losses of the targets after a step of the shared parameters along one source's gradient.

    .. math::
        L_j(X^t, \theta_{s|i}^{t+1}, \theta_j^t) \quad\text{with}\quad
        \theta_{s|i}^{t+1} = \theta_s^t - \eta \nabla_{\theta_s^t} L_i(X^t, \theta_s^t, \theta_i^t)

    Each evaluation is of one batch, with the same dropout masks each time. Call within
    `restore_parameters`: the parameters keep the values of the step.

    References:
        Fifty et al. (2021), `Efficiently Identifying Task Groupings for Multi-Task Learning
        <https://arxiv.org/abs/2109.04617>`_, equation 1.
    """
    losses: list[Float[Tensor, " target"]] = []
    for evaluate in evaluations:
        with torch.no_grad():
            step(shared, gradient)  # again, since forward passes may change parameters
        losses.append(evaluate())
    return losses


@contextmanager
def restore_parameters(parameters: Sequence[Tensor]) -> Generator[list[Tensor]]:
    """Yield copies of the parameters, and write them back, bit for bit, at the end.

    Writing to ``parameter.data`` leaves the parameter's version counter unchanged, so that the
    user's own backward pass, which comes later, still works.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield before
    finally:
        write_values(parameters, before)


def write_values(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Write values into the parameters without changing their version counters."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value)


WRAPPERS = {"accelerate", "lightning", "pytorch_lightning"}


def plain(optimizer: Optimizer | None) -> Optimizer | None:
    """The optimizer itself, below the wrapper of accelerate, Lightning or Fabric."""
    libraries = {part.__module__.partition(".")[0] for part in type(optimizer).__mro__}
    return (
        optimizer if libraries.isdisjoint(WRAPPERS) else getattr(optimizer, "optimizer", optimizer)
    )


USUAL_RATE = 0.001  # the learning rate of a plain step where none is known


def step_size(
    rate: float | None, optimizer: Optimizer | None, shared: Sequence[Tensor]
) -> float | None:
    """The learning rate of a plain step: `rate`, else the optimizer's current one.

    None if the optimizer's groups have none, as of Adafactor with relative steps.
    """
    if rate is not None:
        return rate
    if optimizer is None:
        return USUAL_RATE
    groups = getattr(optimizer, "param_groups", None)
    if groups is None:
        raise InputError(
            f"Expected an optimizer with param_groups, but got {type(optimizer).__name__}: pass "
            "the one that trains the shared parameters.",
            "no-optimizer",
        )
    ids = {id(parameter) for parameter in shared}
    rates = [
        group.get("lr")
        for group in groups
        if not ids or any(id(parameter) in ids for parameter in group["params"])
    ]
    if rates:  # a rate of 0 freezes a group
        rate = next((rate for rate in rates if rate), rates[0])
        return None if rate is None else float(rate)
    raise InputError(
        "Expected the optimizer to train the shared parameters, but none of its groups contains "
        "one: pass the optimizer of this model, or learning_rate=...",
        "foreign-optimizer",
    )


@dataclass(frozen=True, eq=False)
class GradientStep:
    """A plain gradient step without momentum or weight decay, as in the TAG paper."""

    learning_rate: float
    before: Sequence[Tensor]  # values of the parameters from which every step starts

    def __call__(self, parameters: Sequence[Tensor], gradient: Iterable[Tensor | None]) -> None:
        """Write ``before - learning_rate * gradient``."""
        for parameter, value, part in zip(parameters, self.before, gradient, strict=True):
            if part is None or part.is_sparse:
                parameter.data.copy_(value)
                if part is not None:
                    parameter.data.add_(part.to(value.dtype), alpha=-self.learning_rate)
            else:
                torch.add(
                    value, part.to(value.dtype), alpha=-self.learning_rate, out=parameter.data
                )


@dataclass(frozen=True, eq=False)
class OptimizerStep:
    """The step that the run's own optimizer would take on this gradient alone.

    It uses momentum, Adam's moments, weight decay and each group's learning rate as they are; the
    optimizer itself, its hooks and its scheduler are not touched. A shared parameter that the
    gradient does not reach keeps its value.
    """

    optimizer: Optimizer
    before: Sequence[Tensor]  # values of the parameters from which every step starts

    def __call__(self, parameters: Sequence[Tensor], gradient: Iterable[Tensor | None]) -> None:
        """Write the values after the optimizer's step."""
        copies = {
            id(parameter): value.clone().requires_grad_()
            for parameter, value in zip(parameters, self.before, strict=True)
        }
        for parameter, part in zip(parameters, gradient, strict=True):
            copy = copies[id(parameter)]
            copy.grad = None if part is None else part.to(copy.dtype).clone()
        groups = [
            {
                **{name: _copy(value) for name, value in group.items() if name != "params"},
                "params": [copies[id(p)] for p in group["params"] if id(p) in copies],
            }
            for group in self.optimizer.param_groups
        ]
        if missing := len(copies) - sum(len(group["params"]) for group in groups):
            raise InputError(
                f"Expected the optimizer to train every shared parameter, but {missing} of "
                f"{len(parameters)} are in none of its groups: name the trained part with "
                'shared=..., or look ahead with step="gradient".',
                "foreign-optimizer",
            )
        state = {
            copies[id(parameter)]: _copy(entry)
            for parameter, entry in getattr(self.optimizer, "state", {}).items()
            if id(parameter) in copies
        }
        # Built as unpickling does: the same class, without hooks and scheduler.
        optimizer = object.__new__(type(self.optimizer))
        try:
            optimizer.__setstate__(
                {
                    "defaults": self.optimizer.defaults,
                    "state": defaultdict(dict[str, object], state),
                    "param_groups": [group for group in groups if group["params"]],
                }
            )
            with torch.enable_grad():
                optimizer.step()
        except (TypeError, AttributeError, AssertionError, KeyError, RuntimeError) as error:
            raise InputError(
                f"Expected an optimizer that makes a step from gradients alone, but "
                f"{type(self.optimizer).__name__} does not ({error}). Optimizers that evaluate "
                "losses themselves, such as LBFGS and SAM, cannot look ahead: record with "
                'step="gradient".',
                "unsupported-optimizer",
            ) from error
        for parameter in parameters:
            parameter.data.copy_(copies[id(parameter)].detach())


def _copy(value: object) -> Any:
    """The same with copies of all tensors, also of those in lists and dictionaries."""
    return tree_map_only(Tensor, Tensor.clone, value)
