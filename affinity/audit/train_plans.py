"""Training plans: train each network once, with its way to share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.grouping import Network
from affinity.problems import Problem, TrainingResults, at_equal_size, train_networks
from affinity.recommendation import Plan
from affinity.sharing import SHARINGS, Cost, Sharing, cost_of
from affinity.tasks import Replicate
from affinity.training import TrainedNetwork, TrainingSettings

ScoreName = Literal[
    "test_loss",
    "evaluation_loss",
    "validation_loss",
    "training_loss",
    "test_metric",
    "best_epoch_of_task",
]
"""A score of `TrainingResults` that has one value per network, replicate and task."""

Plans = Plan | Sequence[Plan]
"""One plan, or one per replicate."""


@dataclass(frozen=True)
class TrainingSpec:
    """Tasks that are trained together, and how they share; width None: the problem's width."""

    tasks: frozenset[str]
    sharing: str
    width: int | None = None


@dataclass(frozen=True, eq=False)
class PlanResults:
    """Scores of the networks of plans on replicates.

    Args:
        tasks: All tasks of the problem.
        results: For each training, the results and the row of the training in them.
        costs: The cost of the network of each training.
    """

    tasks: tuple[str, ...]
    results: Mapping[TrainingSpec, tuple[TrainingResults, int]]
    costs: Mapping[TrainingSpec, Cost]

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        results, _ = next(iter(self.results.values()))
        return results.test_loss.shape[1]

    @property
    def diverged(self) -> list[str]:
        """The error message of each training that diverged."""
        unique = {id(results): results for results, _ in self.results.values()}
        return [message for results in unique.values() for message in results.diverged]

    def served(self, plans: Plans, score: ScoreName) -> Float[Tensor, "replicate task"]:
        """Scores of each task in the network that serves it."""
        scores = torch.empty(self.n_replicates, len(self.tasks), dtype=torch.double)
        for replicate, plan in enumerate(_per_replicate(plans, self.n_replicates)):
            for network, spec in specs_of(plan):
                results, row = self.results[spec]
                for name in network.served:
                    column = self.tasks.index(name)
                    scores[replicate, column] = getattr(results, score)[row, replicate, column]
        return scores

    def blocks(self, plans: Plans, most: int) -> Float[Tensor, "replicate task block"]:
        """Test losses of each task on up to `most` blocks of its test rows, padded with NaN."""
        losses_of: dict[tuple[int, str], Tensor] = {}
        for replicate, plan in enumerate(_per_replicate(plans, self.n_replicates)):
            for network, spec in specs_of(plan):
                results, row = self.results[spec]
                for name in network.served & results.test_blocks[row].keys():
                    losses = results.test_blocks[row][name][replicate]
                    parts = losses.tensor_split(min(most, len(losses)))
                    losses_of[replicate, name] = torch.stack([part.mean() for part in parts])
        lengths = [
            losses.shape[1]
            for results, row in self.results.values()
            for losses in results.test_blocks[row].values()
        ]
        longest = min(most, max(lengths, default=0))  # also if all trainings diverged
        blocks = torch.full((self.n_replicates, len(self.tasks), longest), torch.nan)
        for (replicate, name), losses in losses_of.items():
            blocks[replicate, self.tasks.index(name), : len(losses)] = losses
        return blocks

    def costs_of(self, plan: Plan) -> tuple[Cost, ...]:
        """The cost of each network of the plan."""
        return tuple(self.costs[spec] for _, spec in specs_of(plan))

    def cost(self, plan: Plan) -> Cost:
        """The cost of all networks of the plan together."""
        costs = self.costs_of(plan)
        return Cost(
            parameters=sum(cost.parameters for cost in costs),
            multiply_adds=sum(cost.multiply_adds for cost in costs),
        )

    def seconds(self, plans: Plans) -> Float[Tensor, " replicate"]:
        """Training time of the networks of each replicate."""
        seconds = torch.zeros(self.n_replicates)
        for replicate, plan in enumerate(_per_replicate(plans, self.n_replicates)):
            for _, spec in specs_of(plan):
                results, row = self.results[spec]
                seconds[replicate] += results.seconds[row, replicate]
        return seconds

    def networks(self, plan: Plan) -> tuple[tuple[TrainedNetwork, ...], ...]:
        """Kept networks in the plan's order, one entry per replicate; empty if not kept."""
        rows = [self.results[spec] for _, spec in specs_of(plan)]
        return tuple(results.trained[row] if results.trained else () for results, row in rows)


def train_plans(
    plans: Iterable[Plans],
    problem: Problem,
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
    backend: str | None = None,
    keep: bool = False,
) -> PlanResults:
    """Train the networks of `plans` on every replicate, and score them.

    A network that several plans need is trained once. Networks with hard sharing or a single task
    have trunks of the plan's width. Networks with another way to share are narrowed until they have
    as many parameters as with hard sharing (`at_equal_size`).

    Args:
        plans: Which networks to train, and how their tasks share: one plan, or a sequence with one
            plan per replicate.
        problem: Tasks, rows, trunk and heads.
        replicates: From `Problem.replicates`.
        settings: How to train; the problem's own settings if None.
        store: A folder in which finished trainings are kept.
        backend: Where to train networks separately; chosen if None.
        keep: Whether to keep parameters and predictions. For mixtures of experts trained in this
            process they are always kept, to examine the gates.

    Raises:
        InputError: If a network cannot be made or trained.
    """
    replicates_of: dict[TrainingSpec, set[int]] = {}
    for each in plans:
        for replicate, plan in enumerate(_per_replicate(each, len(replicates))):
            for _, spec in specs_of(plan):
                replicates_of.setdefault(spec, set()).add(replicate)
    batches: dict[object, list[TrainingSpec]] = {}
    for spec in replicates_of:  # networks with hard sharing and equal width are trained at once
        batches.setdefault(spec.width if spec.sharing == "hard" else spec, []).append(spec)
    results_of: dict[TrainingSpec, tuple[TrainingResults, int]] = {}
    for batch in batches.values():
        results = train_networks(
            sized_problem(problem, batch[0]),
            [spec.tasks for spec in batch],
            replicates,
            settings or problem.settings,
            batch[0].sharing,
            store=store,
            backend=backend,
            keep=keep or (batch[0].sharing == "mmoe" and backend is None),
            replicate_subsets=[sorted(replicates_of[spec]) for spec in batch],
        )
        results_of |= {spec: (results, row) for row, spec in enumerate(batch)}
    sample = problem.development.inputs[:2]
    costs = {spec: cost_of(make_network(problem, spec), sample) for spec in replicates_of}
    return PlanResults(problem.names, results_of, costs)


def sized_problem(problem: Problem, spec: TrainingSpec) -> Problem:
    """The problem with the trunk width at which the network is as large as with hard sharing."""
    sized = problem if spec.width is None else problem.of_width(spec.width)
    return sized if spec.sharing == "hard" else at_equal_size(sized, spec.tasks, spec.sharing)


def make_network(problem: Problem, spec: TrainingSpec) -> Sharing:
    """An untrained network."""
    sized = sized_problem(problem, spec)
    tasks = tuple(task for task in problem.tasks if task.name in spec.tasks)
    with torch.random.fork_rng():
        sample = problem.development.inputs[:2]
        return SHARINGS[spec.sharing](tasks, sized.trunk, sized.head, sample)


def specs_of(plan: Plan) -> list[tuple[Network, TrainingSpec]]:
    """Each network with its training spec; a network of one task is trained like hard sharing."""
    return [
        (network, TrainingSpec(network.trained, "hard" if network.is_alone else how, plan.width))
        for network, how in zip(plan.grouping.networks, plan.sharing, strict=True)
    ]


def _per_replicate(plans: Plans, n_replicates: int) -> Sequence[Plan]:
    return [plans] * n_replicates if isinstance(plans, Plan) else plans
