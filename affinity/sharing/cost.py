"""What a network costs, and the width at which two networks cost the same."""

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from affinity.errors import InputError

from .sharing import Sharing

_WIDEST = 2**20


@dataclass(frozen=True)
class Cost:
    """Parameters of a network, and multiply-adds of a prediction for one row, for all tasks."""

    parameters: int
    multiply_adds: int


def cost_of(network: nn.Module, sample: Sized) -> Cost:
    """Count parameters, and multiply-adds in matrix products and convolutions.

    Args:
        sample: Rows of inputs, as the network takes them, on its device; the multiply-adds are
            those of one row.

    Example:
        >>> from torch import nn
        >>> from affinity.sharing import HardSharing
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = HardSharing(tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1))
        >>> cost_of(network, torch.zeros(1, 3))  # (3 + 1) x 4 + 2 x 5; 3 x 4 + 2 x 4
        Cost(parameters=26, multiply_adds=20)
    """
    counter = FlopCounterMode(display=False)
    was_training = network.training
    network.eval()
    # With gradients: the counter's hooks fail on parameters that modules get as inputs without.
    with torch.enable_grad(), counter:
        network(sample)
    network.train(was_training)
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=counter.get_total_flops() // (2 * len(sample)),
    )


def match_parameters(
    network_of: Callable[[int], Sharing],
    budget: int,
    of: Literal["parameters", "multiply_adds"] = "parameters",
    sample: Tensor | None = None,
) -> int:
    """The width at which a network comes closest to `budget`, to compare ways of sharing.

    Args:
        network_of: Makes a network of a width; wider networks cost more.
        budget: Parameters, or multiply-adds per row.
        of: Which of the two to match.
        sample: Rows of inputs, needed to count multiply-adds.

    Raises:
        InputError: If even width 1 costs more than twice the budget.

    Example:
        >>> from torch import nn
        >>> from affinity.sharing import HardSharing, Separate
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> def separate(width: int) -> Separate:
        ...     trunk = lambda: nn.Linear(3, width)
        ...     return Separate(tasks, trunk, lambda task: nn.Linear(width, 1))
        >>> match_parameters(separate, budget=52)  # 2 x ((3 + 1) x 5 + 5 + 1)
        5
    """
    if of == "multiply_adds" and sample is None:
        raise InputError("Expected a sample of inputs to count multiply-adds on.", "missing-sample")

    def cost(width: int) -> int:
        network = network_of(width)
        if sample is None:
            return sum(parameter.numel() for parameter in network.parameters())
        return getattr(cost_of(network, sample), of)

    if cost(1) > 2 * budget:
        raise InputError(
            f"Expected a budget of at least {cost(1)} {of}, which is what width 1 costs, "
            f"but got {budget}.",
            "budget-too-small",
        )
    low, high = 1, 2
    while cost(high) < budget and high < _WIDEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return min(low, high, key=lambda width: abs(cost(width) - budget))
