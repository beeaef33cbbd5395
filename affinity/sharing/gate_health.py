"""Gate health: which experts a mixture uses, and whether its gates use more than one."""

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import check_number

from .mmoe import MMoE


@dataclass(frozen=True, eq=False)
class GateHealth:
    """How the gates of a mixture weight its experts on some rows.

    Args:
        tasks: The tasks, one per gate; all of them for a single gate.
        utilization: ``[gate expert]``, the mean weight of each expert; a row sums to 1.
        entropy: ``[gate]``, mean over rows of the entropy of the weights, as a share of log n:
            1 weights all experts equally, 0 uses one.
        polarized: Tasks whose gate gives all experts but one less than `threshold` together.
        unused: Experts to which no gate gives `threshold` of an equal share.
        identical: Pairs of experts with the same output on every row.
        threshold: The weight that counts as none.
    """

    tasks: tuple[str, ...]
    utilization: Float[Tensor, "gate expert"]
    entropy: Float[Tensor, " gate"]
    polarized: tuple[str, ...]
    unused: tuple[int, ...]
    identical: tuple[tuple[int, int], ...]
    threshold: float


def gate_health(network: MMoE, inputs: Tensor, threshold: float = 0.1) -> GateHealth:
    """Measure the gates and experts of `network` on `inputs`, without gate dropout.

    A gate is polarized if all experts but one get a mean weight below `threshold` together: without
    them the task's representation would move by less than this fraction of the distance between
    experts. A tenth, the default, is what the usual gate dropout of 0.1 removes at random in
    training. Above it, at least two experts matter to the task. An expert is unused if every gate
    gives it less than `threshold` of an equal share, 1 / experts.

    Args:
        network: A mixture of at least two experts.
        inputs: Rows; preferably the validation rows.
        threshold: The weight that counts as none.

    Raises:
        InputError: If there is only one expert, or the threshold is not in [0, 0.5).

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
    check_number("the number of experts", n_experts, "too-few-experts", least=2)
    check_number("threshold", threshold, "invalid-threshold", least=0, below=0.5)
    with torch.no_grad():
        inputs = network.stem(inputs)
        weights = torch.stack(network.gate_weights(inputs))  # gate row expert
        outputs = [expert(inputs) for expert in network.experts]
    utilization = weights.mean(dim=1)
    entropy = torch.special.entr(weights).sum(dim=2).mean(dim=1) / torch.tensor(n_experts).log()
    others = 1 - utilization.amax(dim=1)  # gate
    is_unused = (utilization < threshold / n_experts).all(dim=0)
    tasks = network.names if not network.represents_once else (", ".join(network.names),)
    return GateHealth(
        tasks=tasks,
        utilization=utilization,
        entropy=entropy,
        polarized=tuple(
            name for name, rest in zip(tasks, others.tolist(), strict=True) if rest < threshold
        ),
        unused=tuple(is_unused.nonzero().flatten().tolist()),
        identical=tuple(
            (first, second)
            for (first, one), (second, other) in combinations(enumerate(outputs), 2)
            if torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        ),
        threshold=threshold,
    )
