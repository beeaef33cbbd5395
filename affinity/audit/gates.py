"""Gates: what those of a trained mixture of experts chose, replicate by replicate."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.problems import Problem
from affinity.sharing import GateHealth, MMoE, gate_health
from affinity.tasks import Replicate
from affinity.training import TrainedNetwork
from affinity.words import count

from .train_plans import TrainingSpec, make_network


@dataclass(frozen=True, eq=False)
class Gates:
    """What the gates of one mixture chose on validation rows.

    An expert of one replicate has nothing to do with the expert of that number in the next.

    Args:
        tasks: One gate each.
        utilization: Mean weight of each expert.
        entropy: Of the weights, as a share of its largest value: 1 mixes all experts equally.
        polarized: Whether the gate takes a single expert.
        identical: Whether two experts give the same output on every row.
    """

    tasks: tuple[str, ...]
    utilization: Float[Tensor, "replicate gate expert"]
    entropy: Float[Tensor, "replicate gate"]
    polarized: Bool[Tensor, "replicate gate"]
    identical: Bool[Tensor, " replicate"]

    @classmethod
    def from_networks(
        cls,
        problem: Problem,
        spec: TrainingSpec,
        trained: Sequence[TrainedNetwork],
        replicates: Sequence[Replicate],
    ) -> "Gates":
        """The gates of a mixture as it was trained on each replicate."""
        healths: list[GateHealth] = []
        for network, replicate in zip(trained, replicates, strict=True):
            mixture = make_network(problem, spec)
            assert isinstance(mixture, MMoE)
            assert network.state is not None
            mixture.load_state_dict(network.state)
            healths.append(gate_health(mixture.eval(), replicate.validation.inputs))
        tasks = healths[0].tasks
        return cls(
            tasks=tasks,
            utilization=torch.stack([health.utilization for health in healths]),
            entropy=torch.stack([health.entropy for health in healths]),
            polarized=torch.tensor([[task in h.polarized for task in tasks] for h in healths]),
            identical=torch.tensor([bool(health.identical) for health in healths]),
        )

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return len(self.identical)

    @property
    def often_polarized(self) -> dict[str, int]:
        """Tasks whose gate takes one expert on half of the replicates or more: on how many."""
        counts = dict(zip(self.tasks, self.polarized.sum(dim=0).tolist(), strict=True))
        return {task: n for task, n in counts.items() if 2 * n >= self.n_replicates}

    @property
    def often_identical(self) -> int:
        """On how many replicates two experts are the same, if on half or more; else 0."""
        n_identical = int(self.identical.sum())
        return n_identical if 2 * n_identical >= self.n_replicates else 0

    @property
    def fault(self) -> str | None:
        """Why this is no mixture, if it is none on at least half of the replicates."""
        replicates = count(self.n_replicates, "replicate")
        for task, polarized in sorted(self.often_polarized.items()):
            return f"the gate of {task} takes one expert on {polarized} of {replicates}"
        if identical := self.often_identical:
            return f"experts are the same on {identical} of {replicates}"
        return None

    def joined(self, more: "Gates") -> "Gates":
        """These replicates and more."""
        names = [field.name for field in fields(self) if field.name != "tasks"]
        both = {name: torch.cat([getattr(self, name), getattr(more, name)]) for name in names}
        return replace(self, **both)
