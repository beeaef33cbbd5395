"""Weight average: an exponential average of a network's weights over about one epoch."""

from collections.abc import Mapping

import torch
from torch import Tensor


@torch.no_grad()
def move_average(
    average: Mapping[str, Tensor], tensors: Mapping[str, Tensor], n_steps: int
) -> None:
    r"""Move `average` towards `tensors` after a step, in place.

    .. math::
        \bar\theta \leftarrow \bar\theta + (\theta - \bar\theta) / n

    The average is the plain mean over the first steps while n counts them, and an exponential
    average over about n steps while n stays the same. Tensors of integers are copied.

    References:
        Polyak & Juditsky (1992), `Acceleration of Stochastic Approximation by Averaging
        <https://doi.org/10.1137/0330046>`_, with an exponential window.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor, 1 / n_steps)
        else:
            average[name].copy_(tensor)
