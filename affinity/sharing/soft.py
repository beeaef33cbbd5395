"""Soft sharing: one trunk per task, pulled together by a penalty."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal

Form = Literal["squared", "norm"]


class SoftSharing(Sharing):
    r"""One trunk per task, and a penalty on the distances between the trunks' parameters.

    .. math::
        \lambda \sum_{i<j} w_{ij} \lVert \theta_i - \theta_j \rVert^p

    with :math:`p = 2` (`squared`) or :math:`p = 1` (`norm`). All :math:`w_{ij}` are 1 unless an
    affinity is given: then :math:`w_{ij} = \max(0, (A_{ij} + A_{ji}) / 2)`, scaled to a mean of 1
    over the pairs, so that a task is pulled towards tasks that help it, but not towards tasks that
    harm it; with the squares this is the quadratic form of the graph's Laplacian. Strength 0 is
    `Separate`; as it grows, the trunks become equal, as in hard sharing.

    Args:
        tasks: The tasks to predict, in order.
        trunk: Makes the trunk of a task; all start from the same parameters.
        head: Makes the head of a task.
        strength: :math:`\lambda`, at least 0; choose it on validation rows.
        form: Whether distances are squared.
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
        ...     tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1), strength=0.5
        ... )
        >>> network.penalty().item()  # trunks start together
        0.0
        >>> with torch.no_grad():
        ...     _ = network.trunks[0].bias.add_(1.0)
        >>> network.penalty().item()  # 0.5 times four squares of 1
        2.0
    """

    strength: Tensor
    weights: Float[Tensor, "task task"]

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Trunk,
        head: Head,
        strength: float = 1e-3,
        form: Form = "squared",
        affinity: Float[Tensor, "task task"] | None = None,
    ) -> None:
        super().__init__(tasks, head)
        if not 0 <= strength < float("inf"):
            raise InputError(
                f"Expected a strength of at least 0, but got {strength}.", "invalid-strength"
            )
        if form not in ("squared", "norm"):
            raise InputError(
                f"Expected the form 'squared' or 'norm', but got {form!r}.", "unknown-form"
            )
        self.form = form
        self.trunks = make_equal(len(self.names), trunk)
        # Buffers, so that networks of different strengths can be trained in one batch.
        self.register_buffer("strength", torch.tensor(strength), persistent=False)
        self.register_buffer("weights", self._weights_of(affinity), persistent=False)

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The output of each task's trunk."""
        return tuple(trunk(inputs) for trunk in self.trunks)

    def penalty(self) -> Tensor:
        """The strength times the weighted sum of distances."""
        first, second = torch.triu_indices(len(self.names), len(self.names), 1)
        squared = self.strength.new_zeros(len(first))
        for parameters in zip(*(trunk.parameters() for trunk in self.trunks), strict=True):
            values = torch.stack([parameter.flatten() for parameter in parameters])  # task param
            squared = squared + (values[first] - values[second]).square().sum(dim=1)
        if self.form == "norm":  # a tiny shift: the root has no derivative at 0
            squared = (squared + 1e-12).sqrt() - 1e-6
        return self.strength * (self.weights[first, second] * squared).sum()

    def _weights_of(self, affinity: Tensor | None) -> Tensor:
        n_tasks = len(self.names)
        if affinity is None:
            return torch.ones(n_tasks, n_tasks)
        if affinity.shape != (n_tasks, n_tasks):
            raise InputError(
                f"Expected an affinity of {n_tasks} by {n_tasks} for the tasks {self.names}, "
                f"but got {tuple(affinity.shape)}.",
                "affinity-does-not-fit",
            )
        helpful = ((affinity + affinity.T) / 2).nan_to_num(nan=0.0).clamp(min=0)
        pairs = helpful[tuple(torch.triu_indices(n_tasks, n_tasks, 1))]
        scale = pairs.mean() if len(pairs) and bool(pairs.any()) else helpful.new_ones(())
        return (helpful / scale).float()
