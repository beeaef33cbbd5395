"""The race: train groups of tasks in rounds, until one grouping is found to be best."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import Tensor

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, CalibratedGains, GainPredictor
from affinity.grouping import Grouping, Network
from affinity.problems import Branching, NetworkTrainer, Problem, TrainingResults, merge
from affinity.tasks import Score
from affinity.tasks.score import weights_of
from affinity.training import Job, works_at_once

from .blocks import MOST_BLOCKS, blocks_of
from .candidates import LISTED, LOSS_AVERSION, CandidateSet
from .race_result import Candidate, DetectableGain, Ended, RaceResult

_POWER = 0.8  # the probability with which a detectable gain is found
_FEW = (2, 3, 5, 8)  # networks of the random groupings of the first round

TrainGroups = Callable[[Sequence[frozenset[str]], int], TrainingResults]
"""Trains the given groups on the replicate of the given number, and returns evaluation losses."""


@dataclass(frozen=True)
class Race:
    r"""Find the grouping with the highest mean gain by training few networks.

    Each round trains networks on a new replicate, and `predictor` learns the possible gains of
    every group from all results. The first round trains each task alone, all tasks in one network,
    and random groups. Each later round trains each task alone and the groups that are most often
    part of the best grouping of a posterior sample (Thompson sampling), weighted by their
    uncertainty. A group that several candidates share is trained once per round. If a full training
    is expensive, many groups can be measured cheaply before the first round (`branching`): the
    predictor learns how well these measurements predict full trainings, and weights them
    accordingly.

    Above 40 tasks, the race is between blocks of tasks with similar affinities (`blocks_of`): each
    group is a union of blocks, and later rounds train only one task of each block alone. So does
    the first if trainings are fewer than twice the tasks; gains are then relative to the tasks'
    mean loss in all networks, and those of separate networks are estimated from these few.

    The race is decided when a grouping is within `tolerance` of the best with probability
    `confidence`; the best few groupings often differ by less than can be measured. Separate
    networks and all-in-one always take part and may win, even if the budget would not allow them.
    The best of very many groupings looks better than it is (selection bias). Therefore it replaces
    the safer choice only if its expected gain over it, from which expected losses are subtracted
    `loss_aversion` times, exceeds half of `tolerance`. The safer choice is the better of separate
    networks and all-in-one, or all-in-one if they differ by no more than `tolerance`.

    Args:
        budget: Maximum number of networks, unless separate networks win; any number if None.
        confidence: The probability at which the race is decided.
        tolerance: Differences of mean gain smaller than this are ignored.
        loss_aversion: How much a loss against the safer choice counts besides itself
            (`CandidateSet.prefer_simple`).
        trainings: Maximum number of networks trained to the end; the first round is always
            trained. `most_trainings` of them if None.
        seconds: Time limit; no round starts after it.
        groups: Number of groups of several tasks per round; the number of tasks, or of blocks, if
            None.
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
        InputError: If the budget is below 1, the confidence is not between 0 and 1, or the loss
            aversion is negative.
    """

    budget: int | None = None
    confidence: float = 0.95
    tolerance: float = 0.01
    loss_aversion: float = LOSS_AVERSION
    trainings: int | None = None
    seconds: float | None = None
    groups: int | None = None
    branching: Branching | None = None
    branches: int | None = None
    predictor: CalibratedGains = field(default_factory=CalibratedGains)
    n_draws: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise InputError(
                f"Expected a budget of at least 1 network, but got {self.budget}.",
                "budget-too-small",
            )
        if not 0 <= self.confidence <= 1:
            raise InputError(
                f"Expected a confidence between 0 and 1, but got {self.confidence}.",
                "not-a-probability",
            )
        if self.loss_aversion < 0:
            raise InputError(
                f"Expected a loss aversion of 0 or more, but got {self.loss_aversion}.",
                "out-of-range",
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

        levels: dict[int, float] = {}
        weights = weights_of({task.name: task.score for task in problem.tasks})

        def as_losses(scores: Tensor) -> Tensor:
            """Losses with a mean near 1, whose reductions are the tasks' weighted gains."""
            losses = scores.clone()
            for column, task in enumerate(problem.tasks):
                values = scores[:, 0, column]
                level = levels.setdefault(column, float(values.nanmean()))
                size = task.score.size(torch.tensor(level), torch.tensor(level))
                gains = task.score.sign * (values - level) / size
                losses[:, 0, column] = 1 - weights[task.name] * gains
            return losses

        def train(groups: Sequence[frozenset[str]], number: int) -> TrainingResults:
            seed = seed_of(number)
            jobs = [Job(f"race-{seed}-{row}", group, seed) for row, group in enumerate(groups)]
            losses = torch.full((len(jobs), 1, len(problem.names)), torch.nan, dtype=torch.double)
            for result in trainer(jobs):
                row = groups.index(result.job.tasks)
                for task, loss in (result.validation or {}).items():
                    losses[row, 0, problem.names.index(task)] = loss
            if not all(task.score == Score("minimize") for task in problem.tasks):
                losses = as_losses(losses)
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
        blocks = blocks_of(tasks, matrices)
        budget = min(self.budget or len(tasks), len(tasks))
        safe = {
            "separate": Grouping(tuple(Network.of(task) for task in tasks)),
            "all-in-one": Grouping((Network.of(*tasks),)),
        }
        n_random = min(self.budget or max(2, -(-len(blocks) // 3)), len(blocks))
        random = {f"random {n}": self._random(blocks, n_random, n) for n in (1, 2)}
        n_groups = self.groups or len(blocks)
        limit = most_trainings(len(tasks)) if self.trainings is None else self.trainings
        rounds: list[TrainingResults] = []
        branches: TrainingResults | None = None
        if branch is not None:
            count = 5 * len(tasks) if self.branches is None else self.branches - len(tasks)
            branches = branch(self._first(blocks, list(safe.values()), count), 0)
            predictors = {
                **(predictors or {}),
                "branches": self.predictor(branches, blocks=blocks),
            }
        offset = 0 if branches is None else 1
        groups = self._first(blocks, [*safe.values(), *random.values()], n_groups)
        if limit < 2 * len(tasks):
            some = _one_of_each(blocks, self.seed)
            groups = [*some, *(group for group in groups if len(group) > 1)]
        while True:
            rounds.append(train(groups, offset + len(rounds)))
            results = merge(rounds)
            predicted = self.predictor(results, matrices, predictors, blocks)
            seed = self.seed + len(rounds)
            posterior = CandidateSet.from_prediction(
                predicted, budget, results.networks, self.n_draws, seed, blocks
            )
            best = posterior.best_expected(budget)
            allowed = [each for each in safe.values() if len(each.networks) <= budget]
            within, plan = (
                posterior.prefer_simple(best, each, self.loss_aversion, self.tolerance)
                for each in (allowed, list(safe.values()))
            )
            named = {"plan": plan, "within the budget": within, **safe, **random}
            if budget < len(tasks):
                unlimited = posterior.best_expected(len(tasks))
                if posterior.expected(unlimited) > posterior.expected(within) + self.tolerance:
                    named["any number of networks"] = unlimited
            top = np.max([posterior.best, *map(posterior.samples_of, safe.values())], axis=0)
            candidates = tuple(
                posterior.describe(name, each, plan, top, self.tolerance)
                for name, each in named.items()
            )
            trainings = sum(len(each.networks) for each in rounds)
            room = limit - trainings - len(blocks)
            seconds = time.perf_counter() - start
            safest = max(safe.values(), key=posterior.expected)
            rival = next(each for each in (best, *safe.values()) if each != safest)
            error = posterior.error_of_difference(predicted, rival, safest)

            def detectable(count: int, error: float = error) -> DetectableGain:
                later = max(0, count - len(rounds[0].networks)) / (len(blocks) + n_groups)
                gain = self.tolerance / 2 + self._reach * error / math.sqrt(1 + later)
                return DetectableGain(count, gain)

            possible = float(np.quantile(top - posterior.samples_of(safest), self.confidence))
            is_hopeless = plan in safe.values() and detectable(limit).gain > possible
            ended = self._ended(candidates[0], len(rounds), room, seconds, is_hopeless)
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
                    detectable=tuple(
                        map(detectable, [trainings, *(n * len(tasks) for n in (4, 12, 40))])
                    ),
                )
            leading = [plan, *safe.values()]
            groups = [
                *_one_of_each(blocks, seed),
                *self._next(posterior, leading, min(n_groups, room)),
            ]

    @property
    def _reach(self) -> float:
        """How many standard errors above half the tolerance a gain is found with 80 %."""

        def value(difference: float) -> float:  # of a difference with a standard error of 1
            loss = norm.pdf(difference) - difference * norm.cdf(-difference)
            return float(difference - self.loss_aversion * loss)

        return brentq(value, 0.0, 10.0 + self.loss_aversion) + float(norm.ppf(_POWER))

    def _ended(
        self, plan: Candidate, rounds: int, room: int, seconds: float, is_hopeless: bool
    ) -> Ended | None:
        if plan.probability >= self.confidence and rounds > 1:
            return "decided"
        if is_hopeless and rounds > 1:
            return "too noisy"
        if room < 1:
            return "out of trainings"
        return "out of time" if self.seconds is not None and seconds > self.seconds else None

    def _first(
        self, blocks: Sequence[frozenset[str]], groupings: Sequence[Grouping], count: int
    ) -> list[frozenset[str]]:
        """The groups of these groupings, the blocks, and random unions of blocks.

        There are `count` groups besides each task alone. Sizes are random where all groups can be
        listed; otherwise the groups are those of random groupings, in which each block is once.
        """
        groups = dict.fromkeys(n.trained for grouping in groupings for n in grouping.networks)
        n_tasks = sum(map(len, blocks))
        groups |= dict.fromkeys(blocks)
        most = min(n_tasks + count, 2 ** len(blocks) - 1 + n_tasks - len(blocks))
        generator = np.random.default_rng(self.seed)
        number = 0
        while len(groups) < most:
            if len(blocks) <= LISTED:
                size = int(generator.integers(2, len(blocks) + 1))
                chosen = generator.choice(len(blocks), size, replace=False)
                groups[frozenset().union(*(blocks[each] for each in chosen))] = None
            else:
                n_networks = _FEW[number % len(_FEW)]
                number += 1
                drawn = self._random(blocks, n_networks, number + 2)
                groups |= dict.fromkeys(network.trained for network in drawn.networks)
        return list(groups)

    def _random(self, blocks: Sequence[frozenset[str]], n_networks: int, number: int) -> Grouping:
        """A random grouping of the blocks with this many networks."""
        order = np.random.default_rng([self.seed, number]).permutation(len(blocks))
        parts = np.array_split(order, n_networks)
        return Grouping(
            tuple(Network.of(*(task for each in part for task in blocks[each])) for part in parts)
        )

    def _next(
        self, posterior: CandidateSet, leading: Sequence[Grouping], count: int
    ) -> list[frozenset[str]]:
        """The groups of several tasks whose training is most likely to change the winner."""
        weights: Counter[int] = Counter(posterior.chosen[posterior.chosen >= 0].tolist())
        for grouping in leading:  # the groups that decide
            weights.update(dict.fromkeys(posterior.rows(grouping), len(posterior.chosen)))
        spread = posterior.values.std(axis=0)
        shared = [row for row in weights if posterior.groups[row].sum() > 1]
        shared.sort(key=lambda row: (-weights[row] * spread[row], row))
        return [posterior.group(row) for row in shared[:count]]


def most_trainings(n_tasks: int) -> int:
    """The most trainings that a race of this many tasks takes, where no other limit is given.

    20 per task; above 40 tasks, one per task and 19 per block.
    """
    return n_tasks + 19 * min(n_tasks, MOST_BLOCKS)


def _one_of_each(blocks: Sequence[frozenset[str]], seed: int) -> list[frozenset[str]]:
    """A random task of each block, alone."""
    generator = np.random.default_rng(seed)
    return [frozenset({str(generator.choice(sorted(block)))}) for block in blocks]
