"""Precision: whether the change of a loss by a lookahead is larger than its rounding error."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.graph import Node

MARGIN = 100
"""A change of a loss counts as measured if it is this many times its rounding error."""


def rounding_error(nodes: Sequence[Node]) -> float:
    """Relative rounding error of losses with these nodes: of the coarsest type in their graph.

    Example:
        >>> from affinity.recording.graph import graph_nodes
        >>> layer = torch.nn.Linear(2, 1)
        >>> rounding_error(graph_nodes([layer(torch.ones(1, 2)).sum()])) == 2.0**-23
        True
        >>> rounding_error(graph_nodes([layer.bfloat16()(torch.ones(1, 2).bfloat16()).sum()]))
        0.0078125
    """
    error = torch.finfo(torch.float32).eps  # in which losses are recorded
    for node in nodes:
        for value in getattr(node, "_input_metadata", ()):
            if value.dtype.is_floating_point:
                error = max(error, torch.finfo(value.dtype).eps)
                if value.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
                    error = max(error, 2.0**-10)
    return error


def below_precision(
    losses: Float[Tensor, " target"],
    gramian: Float[Tensor, "source target"],
    rate: float,
    error: float,
    parameter_error: float,
) -> Bool[Tensor, "source target"]:
    r"""Pairs of which the lookahead's change is lost in rounding.

    .. math::
        \epsilon |L_j| > \frac{\eta \|g_i\| \|g_j\|}{100} \quad\text{or}\quad
        \epsilon_\theta \|\theta\| > \frac{\eta \|g_i\|}{2}

    Args:
        losses: The losses before the step.
        gramian: Inner products of the gradients, with their squared norms on the diagonal.
        rate: The step size.
        error: Relative rounding error of the losses.
        parameter_error: Rounding error of the parameters, :math:`\epsilon_\theta \|\theta\|`.

    Example:
        >>> losses, gramian = torch.ones(1), torch.ones(1, 1)
        >>> below_precision(losses, gramian, 1e-3, 2.0**-23, 1e-7).item()
        False
        >>> below_precision(losses, gramian, 1e-6, 2.0**-23, 1e-7).item()
        True
    """
    norms = gramian.diagonal().sqrt()
    lost = MARGIN * error * losses.abs() > rate * norms[:, None] * norms
    return lost | (2 * parameter_error > rate * norms)[:, None]
