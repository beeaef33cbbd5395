"""Measure plans: every network trained once, each in the way in which its tasks share."""

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

Part = Literal[
    "test_loss",
    "evaluation_loss",
    "validation_loss",
    "training_loss",
    "test_metric",
    "best_epoch_of_task",
]


Plans = Plan | Sequence[Plan]
"""One plan, or one a replicate."""


@dataclass(frozen=True)
class Way:
    """One way to train tasks together; the width is the problem's own if None."""

    trained: frozenset[str]
    sharing: str
    width: int | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What the networks of plans scored on replicates.

    Args:
        tasks: All tasks of the problem.
        ways: For each way to train tasks together its measurements, and its row in them.
        costs: What a network trained so costs.
    """

    tasks: tuple[str, ...]
    ways: Mapping[Way, tuple[TrainingResults, int]]
    costs: Mapping[Way, Cost]

    def served(self, plans: Plans, part: Part) -> Float[Tensor, "replicate task"]:
        """Scores of each task in the network that serves it."""
        scores = torch.empty(self.n_replicates, len(self.tasks), dtype=torch.double)
        for replicate, plan in enumerate(_each(plans, self.n_replicates)):
            for network, way in ways_of(plan):
                measurements, row = self.ways[way]
                for name in network.served:
                    at = self.tasks.index(name)
                    scores[replicate, at] = getattr(measurements, part)[row, replicate, at]
        return scores

    def blocks(self, plans: Plans, most: int) -> Float[Tensor, "replicate task block"]:
        """Test losses of each task on `most` blocks of its test rows; NaN beyond a task's own."""
        found: dict[tuple[int, str], Tensor] = {}
        for replicate, plan in enumerate(_each(plans, self.n_replicates)):
            for network, way in ways_of(plan):
                measurements, row = self.ways[way]
                for name in network.served & measurements.test_blocks[row].keys():
                    losses = measurements.test_blocks[row][name][replicate]
                    some = losses.tensor_split(min(most, len(losses)))
                    found[replicate, name] = torch.stack([part.mean() for part in some])
        every = [
            losses.shape[1]
            for measurements, row in self.ways.values()
            for losses in measurements.test_blocks[row].values()
        ]
        longest = min(most, max(every, default=0))  # also where all trainings diverged
        blocks = torch.full((self.n_replicates, len(self.tasks), longest), torch.nan)
        for (replicate, name), losses in found.items():
            blocks[replicate, self.tasks.index(name), : len(losses)] = losses
        return blocks

    def costs_of(self, plan: Plan) -> tuple[Cost, ...]:
        """Of each network of the plan."""
        return tuple(self.costs[way] for _, way in ways_of(plan))

    def cost(self, plan: Plan) -> Cost:
        """Of all networks of the plan together."""
        found = self.costs_of(plan)
        return Cost(
            parameters=sum(each.parameters for each in found),
            multiply_adds=sum(each.multiply_adds for each in found),
        )

    def seconds(self, plans: Plans) -> Float[Tensor, " replicate"]:
        """To train the networks of each replicate."""
        spent = torch.zeros(self.n_replicates)
        for replicate, plan in enumerate(_each(plans, self.n_replicates)):
            for _, way in ways_of(plan):
                measurements, row = self.ways[way]
                spent[replicate] += measurements.seconds[row, replicate]
        return spent

    def trained(self, plan: Plan) -> tuple[tuple[TrainedNetwork, ...], ...]:
        """The networks in the plan's order, an entry a replicate; none of those not kept."""
        found = [self.ways[way] for _, way in ways_of(plan)]
        return tuple(each.trained[row] if each.trained else () for each, row in found)

    @property
    def n_replicates(self) -> int:
        """How many replicates were measured."""
        measurements, _ = next(iter(self.ways.values()))
        return measurements.test_loss.shape[1]

    @property
    def diverged(self) -> list[str]:
        """What went wrong, for each training that diverged."""
        every = {id(measurements): measurements for measurements, _ in self.ways.values()}
        return [what for measurements in every.values() for what in measurements.diverged]


def measure(
    plans: Iterable[Plans],
    problem: Problem,
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
    backend: str | None = None,
    keep: bool = False,
) -> Measured:
    """Train the networks of `plans` on every replicate, and judge them.

    A network that several plans need is trained once. A network that shares hard, or serves a
    task alone, has trunks of the plan's width; one that shares in another way is as narrow as
    it takes to have as many parameters as one that shares hard (`at_equal_size`).

    Args:
        plans: Which networks to train, and how their tasks share; a sequence of plans is one for
            each replicate.
        problem: Tasks, rows, trunk and heads.
        replicates: Draws of rows, from `Problem.replicates`.
        settings: How to train; the problem's own settings if None.
        store: A folder in which finished trainings are kept.
        backend: Where to train networks, each by itself; chosen if None.
        keep: Whether to keep parameters and predictions. Those of mixtures of experts are kept
            anyway, where they are trained here, so that their gates can be looked at.

    Raises:
        InputError: If a network cannot be made or trained.
    """
    on: dict[Way, set[int]] = {}
    for some in plans:
        for replicate, plan in enumerate(_each(some, len(replicates))):
            for _, way in ways_of(plan):
                on.setdefault(way, set()).add(replicate)
    alike: dict[object, list[Way]] = {}
    for way in on:  # hard sharing of one width is trained at once
        alike.setdefault(way.width if way.sharing == "hard" else way, []).append(way)
    found: dict[Way, tuple[TrainingResults, int]] = {}
    for ways in alike.values():
        measurements = train_networks(
            sized(problem, ways[0]),
            [way.trained for way in ways],
            replicates,
            settings or problem.settings,
            ways[0].sharing,
            store=store,
            backend=backend,
            keep=keep or (ways[0].sharing == "mmoe" and backend is None),
            on=[sorted(on[way]) for way in ways],
        )
        found |= {way: (measurements, row) for row, way in enumerate(ways)}
    sample = problem.development.inputs[:2]
    costs = {way: cost_of(network_of(problem, way), sample) for way in on}
    return Measured(problem.names, found, costs)


def sized(problem: Problem, way: Way) -> Problem:
    """The problem with trunks of the width at which the network costs what hard sharing costs."""
    at = problem if way.width is None else problem.of_width(way.width)
    return at if way.sharing == "hard" else at_equal_size(at, way.trained, way.sharing)


def network_of(problem: Problem, way: Way) -> Sharing:
    """A fresh network that is trained so."""
    at = sized(problem, way)
    own = tuple(task for task in problem.tasks if task.name in way.trained)
    with torch.random.fork_rng():
        return SHARINGS[way.sharing](own, at.trunk, at.head, problem.development.inputs[:2])


def ways_of(plan: Plan) -> list[tuple[Network, Way]]:
    """Each network with its way; a task alone is trained as hard sharing with itself."""
    return [
        (network, Way(network.trained, "hard" if network.is_alone else sharing, plan.width))
        for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
    ]


def _each(plans: Plans, n_replicates: int) -> Sequence[Plan]:
    return [plans] * n_replicates if isinstance(plans, Plan) else plans
