"""Ours: the calibrated predictor over few groups, the race, and a prudent forecast."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from affinity.audit import Race
from affinity.audit.race import TrainGroups
from affinity.estimates import (
    AffinityMatrix,
    CalibratedGains,
    CandidateGroup,
    GainPredictor,
    GroupScores,
    PredictedGains,
)
from affinity.grouping import prefer_simple, solve
from affinity.problems import TrainingResults

from .half import Half
from .measurements import measure_random_groups

SURROGATE = "gradient surrogate"
ESTIMATORS = ("inter-task affinity", "gradient cosine")


@dataclass(frozen=True)
class Calibrated:
    """The calibrated predictor, from affinities of one run and random groups.

    The groups are those of `Ridge`. With no round, T - 1 groups are trained on one replicate, that
    of all tasks among them, and no task alone: with the recorded run, T trainings.

    Args:
        rounds: How many rounds of 2T trainings.
        affinities: Whether a run is recorded.
        surrogate: Whether all-in-one is linearized, to foretell gains.
    """

    rounds: int = 1
    affinities: bool = True
    surrogate: bool = False

    @property
    def estimator(self) -> str | None:
        """What the table has to have."""
        return SURROGATE if self.surrogate else None

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        if self.rounds:
            measure_random_groups(half, self.rounds, seed)
        else:
            generator = np.random.default_rng(seed)
            together = np.flatnonzero(half.members.sum(axis=1) > 1)
            count = min(half.n_tasks - 2, len(together) - 1)
            drawn = generator.choice(together[:-1], count, replace=False)
            replicate = int(generator.integers(half.n_replicates))
            half.measure([int(together[-1]), *drawn.tolist()], [replicate])
        matrices = matrices_of(half, seed) if self.affinities else []
        predictors = predictors_of(half, seed) if self.surrogate else {}
        return _table(half, CalibratedGains()(half.measurements(), matrices, predictors))


@dataclass(frozen=True)
class Branched:
    """The calibrated predictor, from branches: every task alone and random groups.

    Args:
        branches: What branches may cost, in T trainings; so many replicates share them.
        rounds: How many rounds of 2T full trainings as well; what branches foretell of them is
            learned. With none, branches are believed.
    """

    branches: int = 1
    rounds: int = 0
    needs_branches = True

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        generator = np.random.default_rng(seed)
        n_tasks = half.n_tasks
        each = round(n_tasks / half.measured.branch_cost)  # branches that cost T trainings
        together = np.flatnonzero(half.members.sum(axis=1) > 1)
        alone = [1 << task for task in range(n_tasks)]
        replicates = generator.permutation(half.n_replicates)[: self.branches].tolist()
        drawn = generator.permutation(together)[: max(0, each - n_tasks)].tolist()
        early = half.branch([*alone, *drawn], replicates)
        if not self.rounds:
            return _table(half, CalibratedGains()(early))
        measure_random_groups(half, self.rounds, seed)
        matrices = matrices_of(half, seed)
        branches = {"branches": CalibratedGains()(early)}
        return _table(half, CalibratedGains()(half.measurements(), matrices, branches))


@dataclass(frozen=True)
class RaceResult:
    """The race: it chooses itself, within the budget, and goes on while it is not certain.

    In a replay a network that is asked for again costs nothing: a race has as many rounds as ask
    for no more distinct networks than they would cost elsewhere.

    Args:
        rounds: As many rounds as cost so many times 2T trainings, at most.
        surrogate: Whether all-in-one is linearized, to foretell gains.
    """

    rounds: int = 2
    surrogate: bool = False

    @property
    def estimator(self) -> str | None:
        """What the table has to have."""
        return SURROGATE if self.surrogate else None

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The groups chosen."""
        most = 2 * self.rounds * half.n_tasks
        if half.n_replicates > 1:
            return self._race(half, budget, seed, most)[0]
        _, spent = self._race(Half(half.measured, half.replicates), budget, seed, 2 * most)
        paid = max(asked for asked, distinct in spent if distinct <= most)
        return self._race(half, budget, seed, paid)[0]

    def _race(
        self, half: Half, budget: int, seed: int, trainings: int
    ) -> tuple[tuple[int, ...], list[tuple[int, float]]]:
        """The groups chosen; after each round networks asked for so far, and distinct ones."""
        order = np.random.default_rng(seed).permutation(half.n_replicates).tolist()
        names, measure = half.measured.tasks, measure_on(half, order)
        spent: list[tuple[int, float]] = []

        def counted(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
            measured = measure(networks, number)
            asked = spent[-1][0] if spent else 0
            spent.append((asked + len(networks), half.trainings))
            return measured

        race = Race(budget=budget, trainings=trainings, confidence=1.0, seed=seed)
        predictors = predictors_of(half, seed) if self.surrogate else {}
        raced = race.over(names, counted, matrices_of(half, seed), predictors)
        chosen = raced.candidate("within the budget").grouping
        return tuple(number_of(network.trained, names) for network in chosen.networks), spent


@dataclass(frozen=True)
class Prudent:
    """What one linearized network foretells, unless a safe choice falls little short of it.

    Args:
        estimator: Its name in ``foretold.csv.gz``.
    """

    estimator: str = SURROGATE

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The groups chosen."""
        names, predicted = half.measured.tasks, half.foretold(self.estimator, seed, 1)
        candidates = [
            CandidateGroup({names[task]: float(row[task]) for task in np.flatnonzero(member)})
            for member, row in zip(half.members[1:], predicted[1:], strict=True)
        ]
        scores = GroupScores(names, tuple(candidates))
        chosen = prefer_simple(scores, solve(scores, budget), budget)
        return tuple(number_of(network.trained, names) for network in chosen.networks)


@dataclass(frozen=True, eq=False)
class Told:
    """A forecast that was made before.

    Args:
        tasks: The tasks.
        gains: ``[group task]``, as in a table.
    """

    tasks: tuple[str, ...]
    gains: NDArray[np.float64]

    def mean(self, groups: Tensor) -> Tensor:
        """Expected gains ``[group task]``."""
        numbers = groups.long() @ (1 << torch.arange(len(self.tasks)))
        return torch.from_numpy(self.gains[numbers.numpy()])


def predictors_of(half: Half, seed: int) -> dict[str, GainPredictor]:
    """What the linearized network of one replicate foretells."""
    return {SURROGATE: Told(half.measured.tasks, half.foretold(SURROGATE, seed, 1))}


def measure_on(half: Half, order: Sequence[int]) -> TrainGroups:
    """Trains on the half's replicates in this order, from the first again when all were used."""
    names = half.measured.tasks

    def measure(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
        groups = [number_of(network, names) for network in networks]
        replicate = order[number % len(order)]
        half.measure(groups, [replicate])
        losses = half.measured.losses[half.replicates[replicate], groups]
        return TrainingResults.from_losses(networks, names, torch.from_numpy(losses[:, None]))

    return measure


def number_of(network: frozenset[str], names: tuple[str, ...]) -> int:
    """The group of these tasks."""
    return sum(1 << names.index(task) for task in network)


def matrices_of(half: Half, seed: int) -> list[AffinityMatrix]:
    """Affinities of one recorded run, where the table has runs."""
    return [
        AffinityMatrix(
            half.measured.tasks, torch.from_numpy(half.affinity(name, seed)), estimator=name
        )
        for name in ESTIMATORS
        if name in half.measured.estimators
    ]


def _table(half: Half, predicted: PredictedGains) -> NDArray[np.float64]:
    gains = np.full(half.members.shape, np.nan)
    gains[1:] = predicted.mean(torch.from_numpy(half.members[1:])).numpy()
    return gains
