"""Gates: how a trained mixture of experts weights its experts, per replicate."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from affinity.problems import NetworkTrainer
from affinity.problems.network_trainer import NetworkResult
from affinity.sharing import GateHealth, MMoE, gate_health
from affinity.training import Result
from affinity.words import count


@dataclass(frozen=True, eq=False)
class Gates:
    """Weights that the gates of one mixture of experts give on validation rows.

    Expert numbers are arbitrary: expert k of one replicate is unrelated to expert k of another.

    Args:
        tasks: The tasks; each has one gate.
        utilization: Mean weight of each expert.
        entropy: Entropy of the weights divided by its maximum; 1: all experts have equal weight.
        polarized: Whether the gate uses a single expert.
        identical: Whether two experts give the same output on every row.
    """

    tasks: tuple[str, ...]
    utilization: Float[Tensor, "replicate gate expert"]
    entropy: Float[Tensor, "replicate gate"]
    polarized: Bool[Tensor, "replicate gate"]
    identical: Bool[Tensor, " replicate"]

    @classmethod
    def from_results(cls, trainer: NetworkTrainer, results: Sequence[Result]) -> "Gates | None":
        """The gates of one mixture, from its result of each replicate.

        None if its parameters were not kept, or if a training diverged.
        """
        healths: list[GateHealth] = []
        for result in results:
            if not isinstance(result, NetworkResult) or result.network is None:
                return None
            if result.network.state is None:
                return None
            mixture = trainer.make_network(result.job)
            assert isinstance(mixture, MMoE)
            mixture.load_state_dict(result.network.state)
            rows = trainer.problem.replicate(result.job.seed).validation
            healths.append(gate_health(mixture.eval(), rows.inputs))
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
        """Tasks whose gate uses one expert in at least half of the replicates: in how many."""
        counts = dict(zip(self.tasks, self.polarized.sum(dim=0).tolist(), strict=True))
        return {task: n for task, n in counts.items() if 2 * n >= self.n_replicates}

    @property
    def often_identical(self) -> int:
        """Number of replicates with two identical experts if at least half of them; else 0."""
        n_identical = int(self.identical.sum())
        return n_identical if 2 * n_identical >= self.n_replicates else 0

    @property
    def fault(self) -> str | None:
        """Why the mixture has collapsed, if it has in at least half of the replicates."""
        replicates = count(self.n_replicates, "replicate")
        for task, polarized in sorted(self.often_polarized.items()):
            return f"the gate of {task} takes one expert on {polarized} of {replicates}"
        if identical := self.often_identical:
            return f"experts are the same on {identical} of {replicates}"
        return None
