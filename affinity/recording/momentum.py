"""Momentum: what earlier steps of the run's optimizer still push, as one more gradient."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def carried_momentum(optimizer: Optimizer | None, shared: Sequence[Tensor]) -> list[Tensor] | None:
    r"""The sum of earlier gradients that the next step carries along.

    .. math:: m^t = \sum_{k \ge 1} \beta^k g^{t-k}

    so that a step of heavy-ball momentum on a gradient g is :math:`-\eta (g + m^t)`. That is
    :math:`\beta` times the buffer of SGD, over :math:`1 - \text{dampening}`; of the Adam family
    :math:`\beta_1 / (1 - \beta_1)` times ``exp_avg``, before its division by the second moment.
    Zero before the first step, and without momentum.

    Returns:
        One entry a shared parameter; None without an optimizer, or where it keeps no such sum
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
        value = optimizer.state.get(parameter, {}).get(name)
        carried.append(torch.zeros_like(parameter) if value is None else factor * value.detach())
    return carried


def _buffer(group: Mapping[str, Any]) -> tuple[str, float] | None:
    """The name of the buffer, and what makes the sum of it."""
    if "betas" in group:
        beta = float(group["betas"][0])
        return "exp_avg", beta / (1 - beta)
    if "dampening" in group:
        damped = float(group["dampening"])
        return "momentum_buffer", float(group["momentum"]) / (1 - damped) if damped < 1 else 0.0
    return None
