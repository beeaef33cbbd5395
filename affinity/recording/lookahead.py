"""Lookahead: every task's loss after a step along one task's gradient alone."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from .gradients import Gradient
from .steps import Step

Evaluate = Callable[[], Float[Tensor, " task"]]
"""Every task's loss with the parameters as they are; NaN where a task is missing."""


def lookahead_losses(
    evaluate: Sequence[Evaluate],
    shared: Sequence[Tensor],
    gradient: Gradient,
    step: Step,
) -> list[Float[Tensor, " target"]]:
    r"""Losses of the targets after a step of the shared parameters along one source's gradient.

    .. math::
        L_j(X^t, \theta_{s|i}^{t+1}, \theta_j^t) \quad\text{with}\quad
        \theta_{s|i}^{t+1} = \theta_s^t - \eta \nabla_{\theta_s^t} L_i(X^t, \theta_s^t, \theta_i^t)

    Call within `put_back_after`: the parameters stay where the step took them.

    Args:
        evaluate: Each gives the losses on one batch, with the same dropout masks every time.
        shared: The shared parameters.
        gradient: The source's.
        step: From values and gradients to values after the step.

    References:
        Fifty et al. (2021), `Efficiently Identifying Task Groupings for Multi-Task Learning
        <https://arxiv.org/abs/2109.04617>`_, equation 1.

    Example:
        >>> from affinity.recording.steps import GradientStep
        >>> trunk = torch.tensor([1.0], requires_grad=True)
        >>> with put_back_after([trunk]) as before:
        ...     lookahead_losses(
        ...         [lambda: trunk.detach() ** 2], [trunk], [torch.tensor([2.0])],
        ...         GradientStep(0.25, before),
        ...     )
        [tensor([0.2500])]
        >>> trunk
        tensor([1.], requires_grad=True)
    """
    with torch.no_grad():
        step(shared, gradient)
    return [on_batch() for on_batch in evaluate]


@contextmanager
def put_back_after(parameters: Sequence[Tensor]) -> Generator[list[Tensor]]:
    """Yield copies of the parameters, and write them back, bit for bit, at the end.

    Writing to ``parameter.data`` leaves the parameter's version counter alone, so that a backward
    pass that the user has yet to run goes through.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield before
    finally:
        write(parameters, before)


def write(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Write values into the parameters, under the version counters that they have."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value)
