"""Progressive layered extraction: experts of each task next to shared ones, in levels."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from affinity.errors import check_number
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, per_task


class ProgressiveExtraction(Sharing):
    r"""Shared experts and experts of each task, mixed by gates at every level.

    At a level, the gate of a task mixes the shared experts and its own,

    .. math::
        x^{k} \leftarrow \mathrm{softmax}(W_k x^k) \cdot (E^k_1(x^k), \dots, E^s_1(x^s), \dots),

    and a shared gate mixes all experts into :math:`x^s`. Every stage of the trunk is a level; a
    trunk that is no `nn.Sequential` is one level, which is customized gate control (CGC). The last
    level has no shared gate.

    Args:
        trunk: Makes an expert of all levels.
        sample: A few rows of inputs, for the sizes of gates.
        n_shared: Number of shared experts per level.
        n_own: Number of experts per task and level.

    Raises:
        InputError: If a number of experts is below 1.

    References:
        Tang et al. (2020), `Progressive Layered Extraction (PLE): A Novel Multi-Task Learning Model
        for Personalized Recommendations <https://doi.org/10.1145/3383313.3412236>`_.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = ProgressiveExtraction(
        ...     tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1), torch.zeros(1, 3)
        ... )
        >>> len(network.shared), network.gates[0][0].out_features  # 1 level; 2 shared and 1 own
        (1, 3)
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Trunk,
        head: Head,
        sample: Tensor,
        n_shared: int = 2,
        n_own: int = 1,
    ) -> None:
        tasks = tuple(tasks)
        super().__init__(tasks, head)
        check_number("n_shared", n_shared, "too-few-experts", least=1)
        check_number("n_own", n_own, "too-few-experts", least=1)
        shared = [_levels_of(trunk()) for _ in range(n_shared)]
        own = [[_levels_of(trunk()) for _ in range(n_own)] for _ in tasks]
        n_levels = len(shared[0])
        sizes: list[int] = []
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            rows = sample
            for stage in shared[0]:
                sizes.append(rows.flatten(1).shape[1])
                rows = stage(rows)
        self.shared = nn.ModuleList(
            nn.ModuleList(expert[level] for expert in shared) for level in range(n_levels)
        )
        self.own = nn.ModuleList(
            nn.ModuleList(nn.ModuleList(expert[level] for expert in experts) for experts in own)
            for level in range(n_levels)
        )
        self.gates = nn.ModuleList(
            per_task(tasks, lambda _, size=size: nn.Linear(size, n_shared + n_own, bias=False))
            for size in sizes
        )
        self.shared_gates = nn.ModuleList(
            nn.Linear(size, n_shared + n_own * len(tasks), bias=False) for size in sizes[:-1]
        )

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The mixture of each task after the last level."""
        mixed, rows = (inputs,) * len(self.names), inputs
        for level, experts in enumerate(self.shared):
            shared = [expert(rows) for expert in experts]  # pyright: ignore[reportGeneralTypeIssues]
            own = [
                [expert(one) for expert in task]
                for task, one in zip(self.own[level], mixed, strict=True)  # pyright: ignore
            ]
            gates = zip(self.gates[level], mixed, own, strict=True)  # pyright: ignore
            mixed = tuple(_mix(gate(one.flatten(1)), shared + each) for gate, one, each in gates)
            if level < len(self.shared_gates):
                logits = self.shared_gates[level](rows.flatten(1))
                rows = _mix(logits, shared + [output for each in own for output in each])
        return mixed


def _mix(logits: Tensor, outputs: list[Tensor]) -> Tensor:
    stacked = torch.stack(outputs, dim=1)  # batch expert *
    mixed = torch.einsum("be,bew->bw", logits.softmax(dim=-1), stacked.flatten(2))
    return mixed.unflatten(1, stacked.shape[2:])


def _levels_of(trunk: nn.Module) -> list[nn.Module]:
    return list(trunk) if isinstance(trunk, nn.Sequential) and len(trunk) else [trunk]
