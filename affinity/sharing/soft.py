"""Soft sharing: one trunk per task, pulled together after every step."""

from collections.abc import Iterable, Mapping
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, check_number
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal


class SoftSharing(Sharing):
    r"""One trunk per task, and a pull that keeps the trunks' parameters close to each other.

    .. math::
        \Omega(\theta) = \frac{\lambda}{2 T} \sum_{i<j} w_{ij} \lVert \theta_i - \theta_j \rVert^2

    for T tasks, decoupled from the loss as weight decay is in AdamW. With the Laplacian L of the
    weights and

    .. math::
        S(\eta) = \left(I + \frac{\eta \lambda}{T} L\right)^{-1},

    the optimizer gets the gradients :math:`S(1) \nabla`, preconditioned by the penalty, and after
    its step of size :math:`\eta` the parameters take the penalty's proximal step,
    :math:`\theta \leftarrow S(\eta) \theta`. If all weights are 1, this divides a trunk's distance
    to the mean of all trunks by :math:`1 + \eta \lambda`. As the steps of Adam do not depend on the
    scale of the loss, neither does the strength. Strength 0 is `Separate`; as it grows, all trunks
    follow the mean gradient and become one: hard sharing. (The penalty as a term of the loss has
    no such limit under Adam: its gradient exceeds those of the tasks, and hardly anything is
    learned.)

    All :math:`w_{ij}` are 1 unless an affinity is given: then
    :math:`w_{ij} = \max(0, (A_{ij} + A_{ji}) / 2)`, scaled to a mean of 1 over the pairs, so that a
    task is pulled towards tasks that help it, but not towards tasks that harm it.

    Args:
        trunk: Makes the trunk of a task; all start from the same parameters.
        head: Makes the head of a task.
        strength: :math:`\lambda`, at least 0; `affinity.problems.try_strengths` chooses it on
            validation rows.
        affinity: ``[source target]`` in the order of the tasks.

    Raises:
        InputError: If the strength is negative, or the affinity does not fit the tasks.

    References:
        Duong et al. (2015), `Low Resource Dependency Parsing: Cross-lingual Parameter Sharing
        <https://aclanthology.org/P15-2139/>`_ (squared distances); Evgeniou et al. (2005),
        `Learning Multiple Tasks with Kernel Methods
        <https://www.jmlr.org/papers/v6/evgeniou05a.html>`_ (graph of tasks).

    Example:
        >>> from torch import nn
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = SoftSharing(
        ...     tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1), strength=10.0
        ... )
        >>> with torch.no_grad():
        ...     network.trunks[0].bias.fill_(1.0), network.trunks[1].bias.fill_(3.0)
        ...     network.after_step(learning_rate=0.1)  # halves the distance to the mean, 2
        ...     [round(trunk.bias[0].item(), 6) for trunk in network.trunks][0:2]
        (..., ...)
        [1.5, 2.5]
    """

    strength: Tensor
    curvature: Float[Tensor, " task"]
    modes: Float[Tensor, "task task"]

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Trunk,
        head: Head,
        strength: float = 1.0,
        affinity: Float[Tensor, "task task"] | None = None,
    ) -> None:
        super().__init__(tasks, head)
        check_number("strength", strength, "invalid-strength", least=0, below=inf)
        self.trunks = make_equal(len(self.names), trunk)
        weights = self._weights_of(affinity)
        curvature, modes = torch.linalg.eigh(weights.sum(dim=1).diag() - weights)
        # Buffers, so that networks of different strengths can be trained in one batch.
        self.register_buffer("strength", torch.tensor(float(strength)), persistent=False)
        self.register_buffer("curvature", curvature.clamp(min=0).float(), persistent=False)
        self.register_buffer("modes", modes.float(), persistent=False)

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The output of each task's trunk."""
        return tuple(trunk(inputs) for trunk in self.trunks)

    def smoothed(self, values: Mapping[str, Tensor], step: float) -> dict[str, Tensor]:
        r"""The trunks' values times :math:`S`."""
        pull = step * self.strength / len(self.names) * self.curvature
        removed = (self.modes * (pull / (1 + pull))) @ self.modes.T  # the identity minus S
        result: dict[str, Tensor] = {}
        for name, _ in self.trunks[0].named_parameters():
            keys = [f"trunks.{task}.{name}" for task in range(len(self.trunks))]
            if keys[0] not in values:  # frozen
                continue
            stacked = torch.stack([values[key] for key in keys])  # task *
            stacked = stacked - torch.tensordot(removed.to(stacked), stacked, dims=1)
            result |= zip(keys, stacked, strict=True)
        return result

    def _weights_of(self, affinity: Tensor | None) -> Float[Tensor, "task task"]:
        n_tasks = len(self.names)
        if affinity is None:
            weights = torch.ones(n_tasks, n_tasks, dtype=torch.double)
        elif affinity.shape != (n_tasks, n_tasks):
            raise InputError(
                f"Expected an affinity of {n_tasks} by {n_tasks} for the tasks {self.names}, "
                f"but got {tuple(affinity.shape)}.",
                "affinity-does-not-fit",
            )
        else:
            symmetric = (affinity + affinity.T).double() / 2
            weights = symmetric.nan_to_num(nan=0.0).clamp(min=0)
        weights = weights.fill_diagonal_(0.0)
        mean = weights.sum() / max(1, n_tasks * (n_tasks - 1))
        return weights / mean if bool(mean > 0) else weights
