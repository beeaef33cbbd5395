"""Lookahead: every task's loss after a step along one task's gradient alone."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from .steps import Step

Evaluate = Callable[[], Float[Tensor, " task"]]
"""Every task's loss with the parameters as they are; NaN where a task is missing."""


def lookahead_losses(
    evaluate: Evaluate,
    shared: Sequence[Tensor],
    gradients: Iterable[Float[Tensor, " param"] | None],
    step: Step,
) -> Float[Tensor, "source target"]:
    r"""Losses of the targets after a step of the shared parameters along each source's gradient.

    .. math::
        L_j(X^t, \theta_{s|i}^{t+1}, \theta_j^t) \quad\text{with}\quad
        \theta_{s|i}^{t+1} = \theta_s^t - \eta \nabla_{\theta_s^t} L_i(X^t, \theta_s^t, \theta_i^t)

    The parameters are put back from a copy, bit for bit, and keep their version counters, so that
    a pending backward pass goes through.

    Args:
        evaluate: Gives the losses, on the same batch and with the same dropout masks every time.
        shared: The shared parameters.
        gradients: One a source; None gives a row of NaN.
        step: From values and gradients to values after the step.

    References:
        Fifty et al. (2021), `Efficiently Identifying Task Groupings for Multi-Task Learning
        <https://arxiv.org/abs/2109.04617>`_, equation 1.

    Example:
        >>> from affinity.recording.steps import GradientStep
        >>> trunk = torch.tensor([1.0], requires_grad=True)
        >>> lookahead_losses(
        ...     lambda: trunk.detach() ** 2, [trunk], [torch.tensor([2.0])], GradientStep(0.25)
        ... )
        tensor([[0.2500]])
        >>> trunk
        tensor([1.], requires_grad=True)
    """
    rows: list[Tensor] = []
    with put_back_after(shared) as before:
        for gradient in gradients:
            if gradient is None:
                rows.append(rows[0] * torch.nan if rows else evaluate() * torch.nan)
                continue
            after = step(before, split_like(gradient, before))
            for parameter, value in zip(shared, after, strict=True):
                parameter.data.copy_(value)
            rows.append(evaluate())
    return torch.stack(rows)


@contextmanager
def put_back_after(parameters: Sequence[Tensor]) -> Generator[list[Tensor]]:
    """Yield copies of the parameters, and write them back at the end.

    Writing to ``parameter.data`` leaves the parameter's version counter alone.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield before
    finally:
        for parameter, value in zip(parameters, before, strict=True):
            parameter.data.copy_(value)


def split_like(vector: Float[Tensor, " param"], shapes: Sequence[Tensor]) -> list[Tensor]:
    """Views of one long vector, of the shapes of `shapes`."""
    parts = vector.split([tensor.numel() for tensor in shapes])
    return [part.view(tensor.shape) for part, tensor in zip(parts, shapes, strict=True)]
