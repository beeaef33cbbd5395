"""Measure plans: every network trained once, each in the way in which its tasks share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.grouping import Network
from affinity.problems import Measurements, Problem, at_equal_size, train_networks
from affinity.recommendation import Plan
from affinity.tasks import Replicate
from affinity.training import Trained, TrainingSettings

Part = Literal["test_loss", "evaluation_loss", "test_metric"]


@dataclass(frozen=True)
class Way:
    """One way to train tasks together."""

    trained: frozenset[str]
    sharing: str


@dataclass(frozen=True, eq=False)
class Measured:
    """What the networks of plans scored on replicates.

    Args:
        tasks: All tasks of the problem.
        ways: For each way to train tasks together its measurements, and its row in them.
    """

    tasks: tuple[str, ...]
    ways: Mapping[Way, tuple[Measurements, int]]

    def served(self, plan: Plan, part: Part) -> Float[Tensor, "replicate task"]:
        """Scores of each task in the network that serves it."""
        home = {task: way for network, way in ways_of(plan) for task in network.served}
        columns: list[Tensor] = []
        for at, name in enumerate(self.tasks):
            measurements, row = self.ways[home[name]]
            columns.append(getattr(measurements, part)[row, :, at])
        return torch.stack(columns, dim=1)

    def parameters(self, plan: Plan) -> int:
        """Of all networks of the plan together."""
        found = [self.ways[way] for _, way in ways_of(plan)]
        return sum(measurements.parameters[row] for measurements, row in found)

    def seconds(self, plan: Plan) -> float:
        """To train the plan's networks, a replicate."""
        found = [self.ways[way] for _, way in ways_of(plan)]
        return sum(measurements.seconds[row].mean().item() for measurements, row in found)

    def trained(self, plan: Plan) -> tuple[tuple[Trained, ...], ...]:
        """The kept networks in the plan's order, a tuple a network with an entry a replicate."""
        kept: list[tuple[Trained, ...]] = []
        for _, way in ways_of(plan):
            measurements, row = self.ways[way]
            n_replicates = measurements.test_loss.shape[1]
            kept.append(measurements.trained[row * n_replicates : (row + 1) * n_replicates])
        return tuple(kept)

    @property
    def diverged(self) -> list[str]:
        """What went wrong, for each training that diverged."""
        every = {id(measurements): measurements for measurements, _ in self.ways.values()}
        return [what for measurements in every.values() for what in measurements.diverged]


def measure(
    plans: Iterable[Plan],
    problem: Problem,
    replicates: Sequence[Replicate],
    settings: TrainingSettings | None = None,
    store: str | Path | None = None,
    keep: bool = False,
) -> Measured:
    """Train the networks of `plans` on every replicate, and judge them.

    A network that several plans need is trained once. A network that shares hard, or serves a
    task alone, has trunks of the problem's width; one that shares in another way is as narrow as
    it takes to have as many parameters as one that shares hard (`at_equal_size`).

    Args:
        plans: Which networks to train, and how their tasks share.
        problem: Tasks, rows, trunk and heads.
        replicates: Draws of rows, from `Problem.replicates`.
        settings: How to train; the problem's own settings if None.
        store: A folder in which finished trainings are kept.
        keep: Whether to keep parameters and predictions.

    Raises:
        InputError: If a network cannot be made or trained.
    """
    ways = dict.fromkeys(way for plan in plans for _, way in ways_of(plan))
    found: dict[Way, tuple[Measurements, int]] = {}
    hard = [way for way in ways if way.sharing == "hard"]
    others = [[way] for way in ways if way.sharing != "hard"]
    for some in [hard, *others] if hard else others:
        sharing = some[0].sharing
        measurements = train_networks(
            sized(problem, some[0]),
            [way.trained for way in some],
            replicates,
            settings or problem.settings,
            sharing,
            store=store,
            keep=keep,
        )
        found |= {way: (measurements, row) for row, way in enumerate(some)}
    return Measured(problem.names, found)


def sized(problem: Problem, way: Way) -> Problem:
    """The problem with trunks of the width at which the network costs what hard sharing costs."""
    return problem if way.sharing == "hard" else at_equal_size(problem, way.trained, way.sharing)


def ways_of(plan: Plan) -> list[tuple[Network, Way]]:
    """Each network with its way; a task alone is trained as hard sharing with itself."""
    return [
        (network, Way(network.trained, "hard" if network.is_alone else sharing))
        for network, sharing in zip(plan.grouping.networks, plan.sharing, strict=True)
    ]
