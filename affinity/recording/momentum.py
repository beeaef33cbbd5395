"""Momentum: the earlier gradients in the optimizer's next step, as an additional gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from .gradients import Gradient
from .shards import local_part


@dataclass(frozen=True, eq=False)
class Momentum:
    """The weighted sum of earlier gradients in an optimizer's next step."""

    buffers: Gradient  # the optimizer's own, or this process's parts; None: nothing yet
    factor: float  # multiplies all buffers

    def dense(self, shared: Sequence[Tensor]) -> list[Tensor]:
        """One new tensor per shared parameter."""
        return [
            torch.zeros_like(parameter) if buffer is None else self.factor * buffer
            for parameter, buffer in zip(shared, self.buffers, strict=True)
        ]


def carried_momentum(optimizer: Optimizer | None, shared: Sequence[Tensor]) -> Momentum | None:
    r"""The weighted sum of earlier gradients in the optimizer's next step; None if it keeps none.

    .. math:: m^t = \sum_{k \ge 1} \beta^k g^{t-k}

    so that a step of heavy-ball momentum on a gradient g is :math:`-\eta (g + m^t)`. That is
    :math:`\beta` times the buffer of SGD, over :math:`1 - \text{dampening}`; of the Adam family
    :math:`\beta_1 / (1 - \beta_1)` times ``exp_avg``, before its division by the second moment.
    Zero before the first step, and without momentum. It must train all of the shared parameters.
    None for a wrapper that hides the state of an optimizer.
    """
    state = getattr(optimizer, "state", None)
    if optimizer is None or state is None:
        return None
    group_of = {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }
    buffers: Gradient = []
    factors: list[float] = []
    for parameter in shared:
        group = group_of.get(id(parameter))
        buffer = None if group is None else _buffer(group)
        if buffer is None:
            return None
        name, factor = buffer
        entry = state.get(parameter, {})
        if entry and name not in entry:
            return None  # a wrapper that keeps other things (SAM)
        value = entry.get(name)
        buffers.append(None if value is None or not factor else local_part(value.detach()))
        factors.append(factor)
    if len(set(factors)) > 1:  # groups with different settings
        scaled = zip(buffers, factors, strict=True)
        return Momentum([None if value is None else f * value for value, f in scaled], 1.0)
    return Momentum(buffers, factors[0] if factors else 0.0)


def _buffer(group: Mapping[str, object]) -> tuple[str, float] | None:
    """The name of the optimizer's buffer, and the factor that turns it into the sum."""
    sign = -1.0 if group.get("maximize") else 1.0  # buffers then hold gradients times -1
    if "betas" in group:
        beta = float(cast("tuple[float, float]", group["betas"])[0])
        return "exp_avg", sign * beta / (1 - beta)
    if "dampening" in group:
        dampening = float(cast("float", group["dampening"]))
        momentum = float(cast("float", group["momentum"]))
        return "momentum_buffer", sign * momentum / (1 - dampening) if dampening < 1 else 0.0
    return None
