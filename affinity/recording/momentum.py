"""Momentum: the earlier gradients in the optimizer's next step, as an additional gradient."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.optim import Optimizer


def carried_momentum(optimizer: Optimizer | None, shared: Sequence[Tensor]) -> list[Tensor] | None:
    r"""The weighted sum of earlier gradients in the optimizer's next step.

    .. math:: m^t = \sum_{k \ge 1} \beta^k g^{t-k}

    so that a step of heavy-ball momentum on a gradient g is :math:`-\eta (g + m^t)`. That is
    :math:`\beta` times the buffer of SGD, over :math:`1 - \text{dampening}`; of the Adam family
    :math:`\beta_1 / (1 - \beta_1)` times ``exp_avg``, before its division by the second moment.
    Zero before the first step, and without momentum.

    Returns:
        One entry per shared parameter; None without an optimizer, or where it keeps no such sum
        (RMSprop, Adagrad) or does not train all of them.

    Example:
        >>> trunk = torch.tensor([0.0], requires_grad=True)
        >>> optimizer = torch.optim.SGD([trunk], lr=1.0, momentum=0.5)
        >>> trunk.grad = torch.tensor([4.0])
        >>> optimizer.step()
        >>> carried_momentum(optimizer, [trunk])
        [tensor([2.])]
    """
    if optimizer is None:
        return None
    group_of = {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }
    carried: list[Tensor] = []
    for parameter in shared:
        group = group_of.get(id(parameter))
        buffer = None if group is None else _buffer(group)
        if buffer is None:
            return None
        name, factor = buffer
        entry = optimizer.state.get(parameter, {})
        if entry and name not in entry:
            return None  # a wrapper that keeps other things (SAM)
        value = entry.get(name)
        carried.append(torch.zeros_like(parameter) if value is None else factor * value.detach())
    return carried


def _buffer(group: Mapping[str, object]) -> tuple[str, float] | None:
    """The name of the optimizer's buffer, and the factor that turns it into the sum."""
    if "betas" in group:
        beta = float(cast("tuple[float, float]", group["betas"])[0])
        return "exp_avg", beta / (1 - beta)
    if "dampening" in group:
        dampening = float(cast("float", group["dampening"]))
        momentum = float(cast("float", group["momentum"]))
        return "momentum_buffer", momentum / (1 - dampening) if dampening < 1 else 0.0
    return None
