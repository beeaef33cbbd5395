"""The race: measure the groups of contending plans in rounds, until one plan is best."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, CalibratedGains, GainPredictor
from affinity.grouping import Grouping, Network
from affinity.problems import Branching, Problem, TrainingResults, merge, train_networks
from affinity.tasks import Replicate
from affinity.training import works_at_once

from .candidates import CandidateSet
from .race_result import Candidate, Ended, RaceResult

Measure = Callable[[Sequence[frozenset[str]], int], TrainingResults]
"""Trains these networks on the replicate of this number, and measures evaluation losses."""


@dataclass(frozen=True)
class Race:
    r"""Finds the grouping of highest mean gain by training few networks.

    Each round trains networks on a fresh replicate, and `predictor` learns from all that was
    measured what every group may gain. The first round trains every task alone, all in one, and the
    groups of random groupings; each later one the tasks alone and the groups that stand most often
    in the best grouping of a posterior draw (Thompson sampling), weighted by how uncertain they
    are. A group that several contenders share is trained once a round. Where a full training costs
    much, many groups can be measured the cheap way beforehand (`branching`): the predictor learns
    what that is worth, and it counts as far as it foretells full trainings.

    The race is decided when a grouping is, with probability `confidence`, within `tolerance` of
    the best: exact best groupings differ by less than anybody could measure. Separate networks and
    all-in-one always take part, and may win, also where the budget would not allow them: the best
    of very many groupings looks better than it is, so it takes the place of the safer choice only
    where it is better by more than `tolerance` with probability `prudence`. The safer choice is
    the better of the two, or all-in-one where they differ by no more than `tolerance`.

    Args:
        budget: At most so many networks, if the winner is neither separate nor all-in-one.
        confidence: The probability asked for.
        tolerance: Differences of mean gain smaller than this are of no interest.
        prudence: The probability with which a grouping must be better than the safer of all-in-one
            and separate networks, by more than `tolerance`, to be chosen instead.
        trainings: At most so many networks are trained to the end; the first round always is.
        seconds: No round begins after that.
        groups: How many groups of several tasks a round trains; as many as tasks if None.
        branching: Measures groups cheaply beforehand; none if None.
        branches: How many groups that measures, tasks alone among them; six a task if None, which
            costs about as much as training every task alone.
        predictor: Learns what groups gain.
        n_draws: Of the posterior, a round.
        seed: Decides replicates, random groupings and draws. Another one than the audit's, which
            is to judge on replicates that the race did not see.

    References:
        Thompson (1933), On the Likelihood that One Unknown Probability Exceeds Another;
        Russo (2020), `Simple Bayesian Algorithms for Best-Arm Identification
        <https://arxiv.org/abs/1602.08448>`_.

    Raises:
        InputError: If the budget is below 1, or a probability is none.
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
            raise InputError(f"Expected a budget of at least 1 network, but got {self.budget}.")
        for name in ("confidence", "prudence"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"Expected a probability as {name}, but got {getattr(self, name)}."
                )

    def __call__(
        self,
        problem: Problem,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        *,
        store: str | Path | None = None,
    ) -> RaceResult:
        """Race the groupings of a problem's tasks. Test rows are not looked at.

        Args:
            problem: Tasks, rows, trunk and heads.
            matrices: Affinities that may predict gains; their weight is learned.
            predictors: Other predictors of gains, by name.
            store: A folder in which finished trainings are kept; the same race goes on from them.
        """

        def blind(number: int) -> Replicate:
            replicate = problem.replicate(problem.replicate_seeds(number + 1, self.seed)[number])
            assert replicate.evaluation is not None  # the problem drew it
            return replace(replicate, test=replicate.evaluation)

        def measure(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
            return train_networks(problem, networks, [blind(number)], store=store)

        branching = self.branching
        if branching is None or not works_at_once(problem.tasks, problem.settings):
            return self.over(problem.names, measure, matrices, predictors)

        def branch(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
            return branching(problem, networks, blind(number))

        return self.over(problem.names, measure, matrices, predictors, branch)

    def over(
        self,
        tasks: tuple[str, ...],
        measure: Measure,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        branch: Measure | None = None,
    ) -> RaceResult:
        """Race with any way to measure: a cluster, or a table of results.

        Args:
            tasks: All tasks.
            measure: Called once a round, with the number of a replicate that was not used before.
            matrices: Affinities that may predict gains; their weight is learned.
            predictors: Other predictors of gains, by name.
            branch: A cheaper way to measure, called once before the first round.
        """
        began = time.perf_counter()
        safe = {
            "separate": Grouping(tuple(Network.of(task) for task in tasks)),
            "all-in-one": Grouping((Network.of(*tasks),)),
        }
        random = {f"random {number}": self._random(tasks, number) for number in (1, 2)}
        alone = [network.trained for network in safe["separate"].networks]
        n_groups = self.groups or len(tasks)
        limit = 20 * len(tasks) if self.trainings is None else self.trainings
        parts: list[TrainingResults] = []
        early: TrainingResults | None = None
        if branch is not None:
            count = 5 * len(tasks) if self.branches is None else self.branches - len(tasks)
            early = branch(self._first(tasks, list(safe.values()), count), 0)
            predictors = {**(predictors or {}), "branches": self.predictor(early)}
        first = 0 if early is None else 1
        wanted = self._first(tasks, [*safe.values(), *random.values()], n_groups)
        while True:
            parts.append(measure(wanted, first + len(parts)))
            measured = merge(parts)
            predicted = self.predictor(measured, matrices, predictors)
            seed = self.seed + len(parts)
            standing = CandidateSet.of(
                predicted, self.budget, measured.networks, self.n_draws, seed
            )
            best = standing.best_expected(self.budget)
            allowed = [each for each in safe.values() if len(each.networks) <= self.budget]
            within, plan = (
                standing.prefer_simple(best, each, self.prudence, self.tolerance)
                for each in (allowed, list(safe.values()))
            )
            named = {"plan": plan, "within the budget": within, **safe, **random}
            top = np.max([standing.best, *(standing.worth(each) for each in safe.values())], axis=0)
            judged = [
                standing.judged(name, each, plan, top, self.tolerance)
                for name, each in named.items()
            ]
            trainings = sum(len(part.networks) for part in parts)
            room = limit - trainings - len(alone)
            ended = self._ended(judged[0], len(parts), room, time.perf_counter() - began)
            if ended is not None:
                return RaceResult(
                    candidates=tuple(judged),
                    networks=tuple(map(standing.gain_of, groups_of(named.values()))),
                    ended=ended,
                    tolerance=self.tolerance,
                    measured=measured,
                    variances=predicted.variances,
                    trainings=trainings,
                    branches=0 if early is None else len(early.networks),
                    rounds=len(parts),
                    seconds=time.perf_counter() - began,
                )
            wanted = [*alone, *self._next(standing, [plan, *safe.values()], min(n_groups, room))]

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
        found = dict.fromkeys(n.trained for grouping in groupings for n in grouping.networks)
        most = min(len(tasks) + count, 2 ** len(tasks) - 1)
        generator = np.random.default_rng(self.seed)
        while len(found) < most:
            size = int(generator.integers(2, len(tasks) + 1))
            chosen = generator.choice(len(tasks), size, replace=False)
            found[frozenset(tasks[at] for at in chosen)] = None
        return list(found)

    def _random(self, tasks: tuple[str, ...], number: int) -> Grouping:
        """A random grouping with as many networks as the budget allows."""
        order = np.random.default_rng([self.seed, number]).permutation(len(tasks))
        parts = np.array_split(order, min(self.budget, len(tasks)))
        return Grouping(tuple(Network.of(*(tasks[at] for at in part)) for part in parts))

    def _next(
        self, standing: CandidateSet, leading: Sequence[Grouping], count: int
    ) -> list[frozenset[str]]:
        """The groups of several tasks whose measurement may change the winner soonest."""
        seen: Counter[int] = Counter(standing.chosen[standing.chosen >= 0].tolist())
        for grouping in leading:
            seen.update(dict.fromkeys(standing.rows(grouping), len(standing.chosen)))
        spread = standing.values.std(axis=0)
        shared = [row for row in seen if standing.groups[row].sum() > 1]
        shared.sort(key=lambda row: (-seen[row] * spread[row], row))
        return [standing.group(row) for row in shared[:count]]


def groups_of(groupings: Iterable[Grouping]) -> list[Network]:
    """Every network of the groupings, once."""
    return list(dict.fromkeys(network for each in groupings for network in each.networks))
