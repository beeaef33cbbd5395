"""The race: train groups of tasks in rounds, until one grouping is found to be best."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, CalibratedGains, GainPredictor
from affinity.grouping import Grouping, Network
from affinity.problems import Branching, NetworkTrainer, Problem, TrainingResults, merge
from affinity.training import Job, works_at_once

from .candidates import CandidateSet
from .race_result import Candidate, Ended, RaceResult

TrainGroups = Callable[[Sequence[frozenset[str]], int], TrainingResults]
"""Trains the given groups on the replicate of the given number, and returns evaluation losses."""


@dataclass(frozen=True)
class Race:
    r"""Find the grouping with the highest mean gain by training few networks.

    Each round trains networks on a new replicate, and `predictor` learns the possible gains of
    every group from all results. The first round trains each task alone, all tasks in one network,
    and the groups of random groupings. Each later round trains each task alone and the groups that
    are most often part of the best grouping of a posterior sample (Thompson sampling), weighted by
    their uncertainty. A group that several candidates share is trained once per round. If a full
    training is expensive, many groups can be measured cheaply before the first round (`branching`):
    the predictor learns how well these measurements predict full trainings, and weights them
    accordingly.

    The race is decided when a grouping is within `tolerance` of the best with probability
    `confidence`; the best few groupings often differ by less than can be measured. Separate
    networks and all-in-one always take part and may win, even if the budget would not allow them.
    The best of very many groupings looks better than it is (selection bias). Therefore it replaces
    the safer choice only if it is better by more than `tolerance` with probability `prudence`. The
    safer choice is the better of separate networks and all-in-one, or all-in-one if they differ by
    no more than `tolerance`.

    Args:
        budget: Maximum number of networks, unless separate networks win.
        confidence: The probability at which the race is decided.
        tolerance: Differences of mean gain smaller than this are ignored.
        prudence: The probability with which a grouping must be better than the safer choice, by
            more than `tolerance`, to replace it.
        trainings: Maximum number of networks trained to the end; the first round is always
            trained.
        seconds: Time limit; no round starts after it.
        groups: Number of groups of several tasks per round; the number of tasks if None.
        branching: Cheap measurement of groups before the first round; skipped if None.
        branches: Number of groups that `branching` measures, including each task alone; six per
            task if None, which costs about as much as training each task alone.
        predictor: Model of the gains of groups.
        n_draws: Number of posterior samples per round.
        seed: Random seed of replicates, random groupings and samples. Use another seed than the
            audit, whose replicates must be new.

    References:
        Thompson (1933), On the Likelihood that One Unknown Probability Exceeds Another;
        Russo (2020), `Simple Bayesian Algorithms for Best-Arm Identification
        <https://arxiv.org/abs/1602.08448>`_.

    Raises:
        InputError: If the budget is below 1, or a probability is not between 0 and 1.
    """

    budget: int
    confidence: float = 0.95
    tolerance: float = 0.01
    prudence: float = 0.75
    trainings: int | None = None
    seconds: float | None = None
    groups: int | None = None
    branching: Branching | None = None
    branches: int | None = None
    predictor: CalibratedGains = field(default_factory=CalibratedGains)
    n_draws: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InputError(
                f"Expected a budget of at least 1 network, but got {self.budget}.",
                "budget-too-small",
            )
        for name in ("confidence", "prudence"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"Expected a {name} between 0 and 1, but got {getattr(self, name)}.",
                    "not-a-probability",
                )

    def __call__(
        self,
        problem: Problem,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        *,
        store: str | Path | None = None,
    ) -> RaceResult:
        """Race the groupings of a problem's tasks. Test rows are not used.

        Args:
            problem: Tasks, rows, trunk and heads.
            matrices: Affinities as predictors of gains; their predictive value is learned.
            predictors: Other predictions of gains, by name.
            store: A folder for finished trainings; the same race resumes from them.
        """
        trainer = NetworkTrainer(problem, store)

        def seed_of(number: int) -> int:
            return problem.replicate_seeds(number + 1, self.seed)[number]

        def train(groups: Sequence[frozenset[str]], number: int) -> TrainingResults:
            seed = seed_of(number)
            jobs = [Job(f"race-{seed}-{row}", group, seed) for row, group in enumerate(groups)]
            losses = torch.full((len(jobs), 1, len(problem.names)), torch.nan, dtype=torch.double)
            for result in trainer(jobs):
                row = groups.index(result.job.tasks)
                for task, loss in (result.validation or {}).items():
                    losses[row, 0, problem.names.index(task)] = loss
            return TrainingResults.from_losses(groups, problem.names, losses)

        branching = self.branching
        if branching is None or not works_at_once(problem.tasks, problem.settings):
            return self.over(problem.names, train, matrices, predictors)

        def branch(groups: Sequence[frozenset[str]], number: int) -> TrainingResults:
            replicate = problem.replicate(seed_of(number))
            assert replicate.evaluation is not None  # the problem drew it
            return branching(problem, groups, replace(replicate, test=replicate.evaluation))

        return self.over(problem.names, train, matrices, predictors, branch)

    def over(
        self,
        tasks: tuple[str, ...],
        train: TrainGroups,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        branch: TrainGroups | None = None,
    ) -> RaceResult:
        """Race with your own training function, such as jobs on a cluster or a table of results.

        Args:
            tasks: All tasks.
            train: Called once per round, with the number of a replicate that was not used before.
            matrices: Affinities as predictors of gains; their predictive value is learned.
            predictors: Other predictions of gains, by name.
            branch: A cheaper way to measure, called once before the first round.
        """
        start = time.perf_counter()
        safe = {
            "separate": Grouping(tuple(Network.of(task) for task in tasks)),
            "all-in-one": Grouping((Network.of(*tasks),)),
        }
        random = {f"random {number}": self._random(tasks, number) for number in (1, 2)}
        alone = [network.trained for network in safe["separate"].networks]
        n_groups = self.groups or len(tasks)
        limit = 20 * len(tasks) if self.trainings is None else self.trainings
        rounds: list[TrainingResults] = []
        branches: TrainingResults | None = None
        if branch is not None:
            count = 5 * len(tasks) if self.branches is None else self.branches - len(tasks)
            branches = branch(self._first(tasks, list(safe.values()), count), 0)
            predictors = {**(predictors or {}), "branches": self.predictor(branches)}
        offset = 0 if branches is None else 1
        groups = self._first(tasks, [*safe.values(), *random.values()], n_groups)
        while True:
            rounds.append(train(groups, offset + len(rounds)))
            results = merge(rounds)
            predicted = self.predictor(results, matrices, predictors)
            posterior = CandidateSet.from_prediction(
                predicted, self.budget, results.networks, self.n_draws, self.seed + len(rounds)
            )
            best = posterior.best_expected(self.budget)
            allowed = [each for each in safe.values() if len(each.networks) <= self.budget]
            within, plan = (
                posterior.prefer_simple(best, each, self.prudence, self.tolerance)
                for each in (allowed, list(safe.values()))
            )
            named = {"plan": plan, "within the budget": within, **safe, **random}
            top = np.max([posterior.best, *map(posterior.samples_of, safe.values())], axis=0)
            candidates = tuple(
                posterior.describe(name, each, plan, top, self.tolerance)
                for name, each in named.items()
            )
            trainings = sum(len(each.networks) for each in rounds)
            room = limit - trainings - len(alone)
            seconds = time.perf_counter() - start
            ended = self._ended(candidates[0], len(rounds), room, seconds)
            if ended is not None:
                networks = dict.fromkeys(n for each in named.values() for n in each.networks)
                return RaceResult(
                    candidates=candidates,
                    networks=tuple(map(posterior.gain_of, networks)),
                    ended=ended,
                    tolerance=self.tolerance,
                    measured=results,
                    variances=predicted.variances,
                    trainings=trainings,
                    branches=0 if branches is None else len(branches.networks),
                    rounds=len(rounds),
                    seconds=seconds,
                )
            leading = [plan, *safe.values()]
            groups = [*alone, *self._next(posterior, leading, min(n_groups, room))]

    def _ended(self, plan: Candidate, rounds: int, room: int, seconds: float) -> Ended | None:
        if plan.probability >= self.confidence and rounds > 1:
            return "decided"
        if room < 1:
            return "out of trainings"
        return "out of time" if self.seconds is not None and seconds > self.seconds else None

    def _first(
        self, tasks: tuple[str, ...], groupings: Sequence[Grouping], count: int
    ) -> list[frozenset[str]]:
        """The groups of these groupings, and random ones of all sizes up to `count`."""
        groups = dict.fromkeys(n.trained for grouping in groupings for n in grouping.networks)
        most = min(len(tasks) + count, 2 ** len(tasks) - 1)
        generator = np.random.default_rng(self.seed)
        while len(groups) < most:
            size = int(generator.integers(2, len(tasks) + 1))
            chosen = generator.choice(len(tasks), size, replace=False)
            groups[frozenset(tasks[task] for task in chosen)] = None
        return list(groups)

    def _random(self, tasks: tuple[str, ...], number: int) -> Grouping:
        """A random grouping with as many networks as the budget allows."""
        order = np.random.default_rng([self.seed, number]).permutation(len(tasks))
        parts = np.array_split(order, min(self.budget, len(tasks)))
        return Grouping(tuple(Network.of(*(tasks[task] for task in part)) for part in parts))

    def _next(
        self, posterior: CandidateSet, leading: Sequence[Grouping], count: int
    ) -> list[frozenset[str]]:
        """The groups of several tasks whose training is most likely to change the winner."""
        weights: Counter[int] = Counter(posterior.chosen[posterior.chosen >= 0].tolist())
        for grouping in leading:
            weights.update(dict.fromkeys(posterior.rows(grouping), len(posterior.chosen)))
        spread = posterior.values.std(axis=0)
        shared = [row for row in weights if posterior.groups[row].sum() > 1]
        shared.sort(key=lambda row: (-weights[row] * spread[row], row))
        return [posterior.group(row) for row in shared[:count]]
