"""Multi-gate mixture of experts: shared experts, mixed by one gate per task."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import InputError, check_number
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, per_task, stages_of


class MMoE(Sharing):
    r"""Experts shared by all tasks, mixed for each task by a softmax gate on the input.

    .. math::
        f^k(x) = \sum_{i=1}^{n} g^k(x)_i f_i(x), \qquad g^k(x) = \mathrm{softmax}(W_{gk} x)

    With gate dropout, in training an expert's weight is set to 0 with this probability, for each
    row and gate independently, and the rest are divided by their sum; a row that would lose
    all experts keeps them. A single gate for all tasks is the usual mixture of experts.

    Args:
        trunk: Makes an expert.
        n_features: Number of values that gates see per row: of the inputs, flattened, or of the
            output of the shared layers.
        gate_dropout: Probability that an expert's weight is set to 0 in training.
        n_gates: 1 for all tasks together, or one per task; one per task if None.
        shared_layers: How many of the first stages of the trunk all experts and gates share; an
            expert is the rest of it, as in Zhao et al. (2019). 0: the whole trunk.

    Raises:
        InputError: If there are no experts, the probability is not in [0, 1), or the number
            of gates is neither 1 nor the number of tasks, or no layer is left for the experts.

    References:
        Ma et al. (2018), `Modeling Task Relationships in Multi-task Learning with Multi-gate
        Mixture-of-Experts <https://doi.org/10.1145/3219819.3220007>`_, equations 6 and 7. The
        paper's gates have no bias; neither have these. Gate dropout: Zhao et al. (2019),
        `Recommending What Video to Watch Next <https://doi.org/10.1145/3298689.3346997>`_.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = MMoE(
        ...     tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1), n_features=3
        ... )
        >>> network.gate_weights(torch.zeros(5, 3))[0][0].tolist()  # x = 0: equal weights
        [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Trunk,
        head: Head,
        n_features: int,
        n_experts: int = 4,
        gate_dropout: float = 0.0,
        n_gates: int | None = None,
        shared_layers: int = 0,
    ) -> None:
        tasks = tuple(tasks)
        super().__init__(tasks, head)
        check_number("n_experts", n_experts, "too-few-experts", least=1)
        check_number("gate_dropout", gate_dropout, "invalid-dropout", least=0, below=1)
        if n_gates not in (None, 1, len(tasks)):
            raise InputError(
                f"Expected one gate for all tasks (n_gates=1) or one gate for each of the "
                f"{len(tasks)} tasks {[task.name for task in tasks]}, but got n_gates={n_gates}.",
                "invalid-n-gates",
            )
        self.gate_dropout = gate_dropout
        self.represents_once = n_gates == 1
        if shared_layers:
            stages = [stages_of(trunk(), "shared layers") for _ in range(n_experts)]
            most = len(stages[0]) - 1  # so that a layer is left for the experts
            check_number(
                "shared_layers", shared_layers, "invalid-shared-layers", least=0, most=most
            )
            self.stem = nn.Sequential(*stages[0][:shared_layers])
            experts = (nn.Sequential(*parts[shared_layers:]) for parts in stages)
        else:
            self.stem = nn.Identity()
            experts = (trunk() for _ in range(n_experts))
        self.experts = nn.ModuleList(experts)
        self.gates = per_task(
            tasks[:1] if self.represents_once else tasks,
            lambda _: nn.Linear(n_features, n_experts, bias=False),
        )

    def gate_weights(self, inputs: Tensor) -> tuple[Float[Tensor, "batch expert"], ...]:
        """The weight that every gate gives to each expert, before gate dropout.

        Args:
            inputs: The output of `stem`.
        """
        flat = inputs.flatten(1)
        return tuple(gate(flat).softmax(dim=-1) for gate in self.gates)

    def represent(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The experts' outputs, mixed by each gate."""
        inputs = self.stem(inputs)
        outputs = torch.stack([expert(inputs) for expert in self.experts], dim=1)  # batch expert *
        flat = outputs.flatten(2)
        mixtures = tuple(
            torch.einsum("be,bew->bw", self._dropped(weights), flat).unflatten(1, outputs.shape[2:])
            for weights in self.gate_weights(inputs)
        )
        return mixtures[0] if self.represents_once else mixtures

    def _dropped(self, weights: Float[Tensor, "batch expert"]) -> Float[Tensor, "batch expert"]:
        if not self.training or self.gate_dropout == 0:
            return weights
        stays = torch.rand_like(weights) >= self.gate_dropout
        stays = stays | ~stays.any(dim=1, keepdim=True)
        kept = weights * stays
        return kept / kept.sum(dim=1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
