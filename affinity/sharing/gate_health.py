"""Gate health: which experts a mixture uses, and whether its gates use more than one."""

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError

from .mmoe import MMoE


@dataclass(frozen=True, eq=False)
class GateHealth:
    """How the gates of a mixture weight its experts on some rows.

    Args:
        tasks: The tasks, one per gate; all of them for a single gate.
        utilization: ``[gate expert]``, the mean weight of each expert; a row sums to 1.
        entropy: ``[gate]``, mean over rows of the entropy of the weights, as a share of log n:
            1 weights all experts equally, 0 uses one.
        polarized: Tasks whose gate gives less than `threshold` to every expert but one.
        unused: Experts to which no gate gives `threshold`.
        identical: Pairs of experts with the same output on every row.
        threshold: Mean weight below which an expert counts as not used.
    """

    tasks: tuple[str, ...]
    utilization: Float[Tensor, "gate expert"]
    entropy: Float[Tensor, " gate"]
    polarized: tuple[str, ...]
    unused: tuple[int, ...]
    identical: tuple[tuple[int, int], ...]
    threshold: float


def gate_health(network: MMoE, inputs: Tensor, threshold: float = 0.01) -> GateHealth:
    """Measure the gates and experts of `network` on `inputs`, without gate dropout.

    Args:
        network: A mixture of at least two experts.
        inputs: Rows; preferably the validation rows.
        threshold: Mean weight below which an expert counts as not used by a gate.

    Raises:
        InputError: If there is only one expert, or the threshold is not below 1 / experts.

    Example:
        >>> from torch import nn
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = MMoE(
        ...     tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1), n_features=3
        ... )
        >>> health = gate_health(network, torch.zeros(5, 3))  # x = 0: equal weights
        >>> health.utilization[0].tolist(), health.polarized
        ([0.25, 0.25, 0.25, 0.25], ())
    """
    n_experts = len(network.experts)
    if n_experts < 2:
        raise InputError(
            "Expected at least two experts to choose from, but there is one.", "too-few-experts"
        )
    if not 0 <= threshold < 1 / n_experts:
        raise InputError(
            f"Expected a threshold below 1 / {n_experts} experts, but got {threshold}.",
            "invalid-threshold",
        )
    with torch.no_grad():
        weights = torch.stack(network.gate_weights(inputs))  # gate row expert
        outputs = [expert(inputs) for expert in network.experts]
    utilization = weights.mean(dim=1)
    entropy = torch.special.entr(weights).sum(dim=2).mean(dim=1) / torch.tensor(n_experts).log()
    is_used = utilization >= threshold  # gate expert
    tasks = network.names if not network.represents_once else (", ".join(network.names),)
    return GateHealth(
        tasks=tasks,
        utilization=utilization,
        entropy=entropy,
        polarized=tuple(
            name for name, used in zip(tasks, is_used.sum(dim=1).tolist(), strict=True) if used == 1
        ),
        unused=tuple((~is_used.any(dim=0)).nonzero().flatten().tolist()),
        identical=tuple(
            (first, second)
            for (first, one), (second, other) in combinations(enumerate(outputs), 2)
            if torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        ),
        threshold=threshold,
    )
