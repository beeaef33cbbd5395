"""The race: train groups of tasks in rounds, until one grouping is as good as the best."""

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from affinity.errors import InputError, check_number, check_whole_number, warn
from affinity.estimates import AffinityMatrix, CalibratedGains, GainPredictor
from affinity.grouping import Grouping, Network
from affinity.problems import Branching, NetworkTrainer, Problem, TrainingResults, merge
from affinity.tasks import Score, check_names
from affinity.training import Job, Result, Trainer, works_at_once
from affinity.words import count

from .blocks import MOST_BLOCKS, blocks_of
from .candidates import FAILURES, LISTED, LOSS_AVERSION, CandidateSet, can_be_trained
from .race_result import Candidate, DetectableGain, Ended, RaceResult
from .score_losses import explain_around_zero, losses_of_scores, tasks_around_zero
from .trainings import run_jobs

_POWER = 0.8  # the probability with which a detectable gain is found
_TRAINED = 2.0  # divided by the number of tasks: part of the later rounds that train one grouping
_FEWEST_LATER = 0.5  # later rounds, where there was only the first
_FEW = (2, 3, 5, 8)  # networks of the random groupings of the first round

TrainGroups = Callable[[Sequence[frozenset[str]], int], TrainingResults]
"""Trains the given groups on the replicate of the given number, and returns evaluation losses."""

ToLosses = Callable[[TrainingResults, Sequence[frozenset[str]]], TrainingResults]
"""Turns the scores of all trainings into losses, given the blocks of tasks."""


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
        n_draws: Number of posterior samples per round.
        seed: Random seed of replicates, random groupings and samples. Use another seed than the
            audit, whose replicates must be new.

    References:
        Thompson (1933), On the Likelihood that One Unknown Probability Exceeds Another;
        Russo (2020), `Simple Bayesian Algorithms for Best-Arm Identification
        <https://arxiv.org/abs/1602.08448>`_.

    Raises:
        InputError: If the budget is below 1, the confidence is not between 0 and 1, or another
            setting is out of its range.

    Example:
        >>> from affinity.training import FunctionTrainer
        >>> def train(tasks, seed):  # two tasks that help each other, from 0.70 to 0.75
        ...     return {task: 0.65 + 0.05 * len(tasks) + 0.001 * seed for task in tasks}
        >>> scores = {"click": "maximize", "like": "maximize"}
        >>> race = Race(trainings=6)(FunctionTrainer(train), tasks=scores)
        >>> [sorted(network.served) for network in race.winner.grouping.networks]
        [['click', 'like']]
        >>> race.finding  # nothing is better than one network for all, a safe choice
        'no difference'
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
        if self.budget is not None:
            check_whole_number("budget", self.budget, 1, "budget-too-small")
        for name, least in (("trainings", 0), ("groups", 1), ("n_draws", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None:
                check_whole_number(name, value, least, "out-of-range")
        for name in ("tolerance", "loss_aversion", "seconds"):
            check_number(name, getattr(self, name), least=0)
        check_number("the confidence", self.confidence, "not-a-probability", least=0, most=1)

    def __call__(
        self,
        trainer: Problem | Trainer,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        *,
        tasks: Mapping[str, Score | str] | None = None,
        retries: int = 1,
        store: str | Path | None = None,
    ) -> RaceResult:
        """Race the groupings of the tasks of a problem or of any trainer. Test rows are not used.

        The trainings of each round are handed to the trainer together. A failed training is missing
        data. A race keeps nothing on the disk (`affinity.Study` does), except of a problem's
        networks in `store`.

        Args:
            trainer: A problem, whose networks are trained here, or a trainer such as
                `FunctionTrainer` or `CommandTrainer`.
            matrices: Affinities as predictors of gains; their predictive value is learned.
            predictors: Other predictions of gains, by name.
            tasks: The score of each task of a trainer: "maximize", "minimize" or a `Score`.
            retries: How often a trainer's failed training is repeated, with the same seed.
            store: A folder for finished trainings of a problem; the same race resumes from them.

        Raises:
            InputError: If a trainer comes without tasks, it is no trainer, there is one task only,
                or some task has no score in the first round.

        Example:
            >>> from affinity.training import FunctionTrainer
            >>> def train(tasks, seed):  # "a" and "b" help each other, "c" is harmed
            ...     together = 0.1 * ({"a", "b"} <= set(tasks)) + 0.001 * (seed % 2)
            ...     harm = 0.3 * (len(tasks) > 1)
            ...     return {task: 0.6 + (-harm if task == "c" else together) for task in tasks}
            >>> scores = dict.fromkeys("abc", "maximize")
            >>> result = Race(budget=2, trainings=16)(FunctionTrainer(train), tasks=scores)
            >>> sorted(sorted(network.served) for network in result.winner.grouping.networks)
            [['a', 'b'], ['c']]
        """
        if isinstance(trainer, NetworkTrainer):
            trainer = trainer.problem
        if isinstance(trainer, Problem):
            return self._over_problem(trainer, matrices, predictors, store)
        if not isinstance(trainer, Trainer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"Expected a problem or a trainer, but got {trainer!r}. "
                "affinity.training.FunctionTrainer(train) makes a trainer of a function.",
                "not-a-trainer",
            )
        if not isinstance(tasks, Mapping):
            raise InputError(
                "Expected the score of each task, as in tasks={'click': 'maximize'}, because a "
                f"trainer does not know it, but got {tasks!r}.",
                "no-tasks",
            )
        scores = {task: Score.of(tasks[task]) for task in check_names(tasks)}
        rounds = _Rounds(trainer, scores, lambda number: self.seed + number, retries)
        result = self.over(tuple(scores), rounds, matrices, predictors, to_losses=rounds.to_losses)
        rounds.warn()
        return result.with_scores(scores)

    def _over_problem(
        self,
        problem: Problem,
        matrices: Sequence[AffinityMatrix],
        predictors: Mapping[str, GainPredictor] | None,
        store: str | Path | None,
    ) -> RaceResult:
        def seed_of(number: int) -> int:
            return problem.replicate_seeds(number + 1, self.seed)[number]

        def branch(groups: Sequence[frozenset[str]], number: int) -> TrainingResults:
            replicate = problem.replicate(seed_of(number))
            assert replicate.evaluation is not None  # the problem drew it
            assert self.branching is not None
            return self.branching(problem, groups, replace(replicate, test=replicate.evaluation))

        scores = {task.name: task.score for task in problem.tasks}
        rounds = _Rounds(NetworkTrainer(problem, store), scores, seed_of)
        can_branch = self.branching and works_at_once(problem.tasks, problem.settings)
        result = self.over(
            problem.names,
            rounds,
            matrices,
            predictors,
            branch if can_branch else None,
            rounds.to_losses,
        )
        return result.with_scores(scores)

    def over(
        self,
        tasks: tuple[str, ...],
        train: TrainGroups,
        matrices: Sequence[AffinityMatrix] = (),
        predictors: Mapping[str, GainPredictor] | None = None,
        branch: TrainGroups | None = None,
        to_losses: ToLosses | None = None,
    ) -> RaceResult:
        """Race with your own training function, such as jobs on a cluster or a table of results.

        Args:
            train: Called once per round, with the number of a replicate that was not used before.
            matrices: Affinities as predictors of gains; their predictive value is learned.
            predictors: Other predictions of gains, by name.
            branch: A cheaper way to measure, called once before the first round.
            to_losses: Turns what `train` returned in all rounds into losses, given the blocks of
                tasks that are trained together.

        Raises:
            InputError: If there is one task only.
        """
        if len(tasks) < 2:
            raise InputError(f"Expected at least 2 tasks, but got {list(tasks)}.", "too-few-tasks")
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
        asked: Counter[frozenset[str]] = Counter()
        branches: TrainingResults | None = None
        if branch is not None:
            n_more = 5 * len(tasks) if self.branches is None else self.branches - len(tasks)
            branches = branch(self._first(blocks, list(safe.values()), n_more), 0)
            predictors = {**(predictors or {}), "branches": self.predictor(branches, blocks=blocks)}
        offset = 0 if branches is None else 1
        groups = self._first(blocks, [*safe.values(), *random.values()], n_groups)
        if limit < 2 * len(tasks):
            some = _one_of_each(blocks, self.seed)
            groups = [*some, *(group for group in groups if len(group) > 1)]
        while True:
            rounds.append(train(groups, offset + len(rounds)))
            asked.update(groups)
            measured = merge(rounds)
            results = measured if to_losses is None else to_losses(measured, blocks)
            failing = _without_scores(results)
            is_failing = failing.__contains__
            predicted = self.predictor(results, matrices, predictors, blocks)
            seed = self.seed + len(rounds)
            posterior = CandidateSet.from_prediction(
                predicted, budget, results.networks, self.n_draws, seed, blocks
            )
            best = posterior.without(is_failing).best_expected(budget)
            feasible = [each for each in safe.values() if can_be_trained(each, is_failing)]
            allowed = [each for each in feasible if len(each.networks) <= budget]
            within, plan = (
                posterior.prefer_simple(best, each, self.loss_aversion, self.tolerance)
                for each in (allowed, feasible)
            )
            named = {"plan": plan, "within the budget": within, **safe, **random}
            if budget < len(tasks):
                unlimited = posterior.without(is_failing).best_expected(len(tasks))
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
            safest = max(feasible, key=posterior.expected)
            rival = next(each for each in (best, *safe.values()) if each != safest)
            error = posterior.error_of_difference(predicted, rival, safest)

            def later_rounds(number: int) -> float:
                return max(0, number - len(rounds[0].networks)) / (len(blocks) + n_groups)

            possible = float(np.quantile(top - posterior.samples_of(safest), self.confidence))
            shown = self._gain_shown(error, 1 + later_rounds(limit))
            is_hopeless = plan in safe.values() and shown > possible
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
                        DetectableGain(
                            number, self._gain_found(error, later_rounds(number), len(blocks))
                        )
                        for number in (trainings, *(n * len(tasks) for n in (4, 12, 40)))
                    ),
                )
            leading = [plan, *safe.values()]
            given_up = {group for group in failing if asked[group] >= FAILURES}
            groups = [
                *_one_of_each(blocks, seed),
                *self._next(posterior, leading, min(n_groups, room), given_up),
            ]

    def _gain_shown(self, error: float, rounds: float) -> float:
        """The gain over the safer choice with which a grouping is preferred after these rounds.

        With a probability of 80 %, if it is trained in each of them; `error` is the standard error
        of one round's difference.
        """
        from scipy import optimize, special

        def value(difference: float) -> float:  # of a difference with a standard error of 1
            density = math.exp(-(difference**2) / 2) / math.sqrt(2 * math.pi)
            loss = density - difference * special.ndtr(-difference)
            return float(difference - self.loss_aversion * loss)

        root = optimize.brentq(value, 0.0, 10.0 + self.loss_aversion)
        reach = float(root) + float(special.ndtri(_POWER))
        return self.tolerance / 2 + reach * error / math.sqrt(rounds)

    def _gain_found(self, error: float, later: float, n_blocks: int) -> float:
        """The gain of the best grouping with which a race finds it, with a probability of 80 %.

        The later rounds also look for that grouping, the longer the more tasks there are: they
        count as `_TRAINED` / `n_blocks` of them would if only it was trained. Calibrated on
        simulated races (`reports/race`).
        """
        return self._gain_shown(error, max(_FEWEST_LATER, later) * _TRAINED / n_blocks)

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
        self,
        posterior: CandidateSet,
        leading: Sequence[Grouping],
        count: int,
        given_up: Collection[frozenset[str]],
    ) -> list[frozenset[str]]:
        """The groups of several tasks whose training is most likely to change the winner."""
        worth = posterior.worth_of_training(leading)
        shared = [row for row in worth if posterior.groups[row].sum() > 1]
        shared.sort(key=lambda row: (-worth[row], row))
        groups = map(posterior.group, shared)
        return [group for group in groups if group not in given_up][:count]


@dataclass(eq=False)
class _Rounds:
    """Trains the groups of each round with a trainer, and returns their scores."""

    trainer: Trainer
    scores: Mapping[str, Score]
    seed_of: Callable[[int], int]
    retries: int = 0
    _results: list[Result] = field(default_factory=list[Result])

    def __call__(self, groups: Sequence[frozenset[str]], number: int) -> TrainingResults:
        """Train the groups on one replicate."""
        seed, names = self.seed_of(number), tuple(self.scores)
        jobs = [Job(f"race-{seed}-{row}", group, seed) for row, group in enumerate(groups)]
        scores = torch.full((len(jobs), 1, len(names)), torch.nan, dtype=torch.double)
        seconds = torch.full((len(jobs), 1), torch.nan)
        for result in run_jobs(self.trainer, jobs, self.retries):
            self._results.append(result)
            if result.seconds is not None:
                seconds[groups.index(result.job.tasks), 0] = result.seconds
            for task, score in (result.validation or {}).items():
                scores[groups.index(result.job.tasks), 0, names.index(task)] = score
        self._check_scores()
        return replace(TrainingResults.from_losses(groups, names, scores), seconds=seconds)

    def to_losses(
        self, measured: TrainingResults, blocks: Sequence[frozenset[str]]
    ) -> TrainingResults:
        """The scores of all rounds as losses; as they are, if they are losses above 0."""
        scores = measured.evaluation_loss
        are_losses = all(score == Score("minimize") for score in self.scores.values())
        if are_losses and not (scores <= 0).any():
            return measured
        return losses_of_scores(measured, self.scores, blocks)

    def _check_scores(self) -> None:
        known = {task for result in self._results for task in result.validation or {}}
        if missing := [task for task in self.scores if task not in known]:
            errors = [result.error for result in self._results if result.error]
            raise InputError(
                f"Expected a validation score of each task in the first round, but {missing} have "
                f"none{f'. The last error was: {errors[-1]}' if errors else '.'}",
                "all-trainings-failed" if len(missing) == len(self.scores) else "no-scores",
            )

    def warn(self) -> None:
        """Warn of scores that have no ratios, and of failed trainings with their groups."""
        if around_zero := tasks_around_zero(self._results, self.scores):
            warn(explain_around_zero(around_zero), "scores-around-zero")
        failed = [result for result in self._results if result.is_failed]
        if not failed:
            return
        done = {result.job.tasks for result in self._results if not result.is_failed}
        never = dict.fromkeys(each.job.names for each in failed if each.job.tasks not in done)
        groups = "; ".join(", ".join(map(repr, names)) for names in never)
        never_text = f" These groups never gave scores: {groups}." if never else ""
        warn(
            f"{count(len(failed), 'training')} of the race failed and are missing data; the last "
            f"one because of: {failed[-1].error}{never_text}",
            "failed-trainings",
        )


def most_trainings(n_tasks: int) -> int:
    """The most trainings that a race of this many tasks takes, where no other limit is given.

    20 per task; above 40 tasks, one per task and 19 per block.
    """
    return n_tasks + 19 * min(n_tasks, MOST_BLOCKS)


def _without_scores(results: TrainingResults) -> frozenset[frozenset[str]]:
    """The groups that were trained and never gave a score."""
    has_scores = results.evaluation_loss.isfinite().flatten(1).any(dim=1).tolist()
    rows = zip(results.networks, has_scores, strict=True)
    return frozenset(group for group, is_known in rows if not is_known)


def _one_of_each(blocks: Sequence[frozenset[str]], seed: int) -> list[frozenset[str]]:
    """A random task of each block, alone."""
    generator = np.random.default_rng(seed)
    return [frozenset({str(generator.choice(sorted(block)))}) for block in blocks]
