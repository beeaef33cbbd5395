"""Precision: the type of what is recorded, and whether a lookahead's change exceeds rounding."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.graph import Node

MARGIN = 100  # a change of a loss counts as measured if it is this many times its rounding error


_DOUBLE = {torch.float64, torch.complex128}


def recorded_type(tensors: Iterable[Tensor]) -> torch.dtype:
    """Double precision if a tensor has it, else single precision."""
    return torch.float64 if any(each.dtype in _DOUBLE for each in tensors) else torch.float32


def rounding_of(nodes: Sequence[Node], recorded: torch.dtype) -> tuple[float, bool]:
    """Relative rounding error of losses with these nodes, and whether some are in float16.

    The error is that of the coarsest type in their graph; `recorded` is the type in which losses
    are recorded.
    """
    error, is_half = torch.finfo(recorded).eps, False
    for node in nodes:
        for value in getattr(node, "_input_metadata", ()):
            if value.dtype.is_floating_point or value.dtype.is_complex:
                error = max(error, torch.finfo(value.dtype).eps)
                is_half = is_half or value.dtype == torch.float16
                if value.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
                    error = max(error, 2.0**-10)
    return error, is_half


def below_precision(
    losses: Float[Tensor, " target"],
    gramian: Float[Tensor, "source target"],
    rate: float,
    error: float,
    parameter_error: float,
) -> Bool[Tensor, "source target"]:
    r"""Pairs of which the lookahead's change is lost in rounding, of losses or of parameters.

    .. math::
        \epsilon |L_j| > \frac{\eta \|g_i\| \|g_j\|}{100} \quad\text{or}\quad
        \epsilon_\theta \|\theta\| > \frac{\eta \|g_i\|}{2}

    `error` is :math:`\epsilon`, `parameter_error` the product :math:`\epsilon_\theta \|\theta\|`.
    """
    norms = gramian.diagonal().sqrt()
    lost = MARGIN * error * losses.abs() > rate * norms[:, None] * norms
    return lost | (2 * parameter_error > rate * norms)[:, None]
