"""Deciding: which trainings a study needs next, and which grouping is best so far.

Pure functions of the results: the same results give the same jobs and the same answer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import nan

import numpy as np
import torch

from affinity.audit import Candidate
from affinity.audit.candidates import (
    FAILURES,
    LISTED,
    LOSS_AVERSION,
    CandidateSet,
    can_be_trained,
)
from affinity.audit.race_result import NetworkGain
from affinity.audit.score_losses import (
    as_losses,
    explain_around_zero,
    levels_of,
    tasks_around_zero,
)
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, CalibratedGains
from affinity.grouping import Grouping, Network, all_groups, solve
from affinity.problems import TrainingResults
from affinity.tasks import Score
from affinity.tasks.score import weights_of
from affinity.training import Job, Result
from affinity.words import in_percent

from .untried import LEAST_SURPRISE, UntriedGroups

CONFIDENCE = 0.95  # the probability of being best above which no more trainings are planned


MOST_CELLS = 1000  # latest scores that the predictor uses: its cost is cubic in them
_CELLS_TO_FIT = 200  # scores from which the sizes of effects are learned, the most expensive part
NEGLIGIBLE = 0.01  # an untried group with this chance to win keeps the study from stopping
_DRAWS_TO_ASK, _DRAWS_TO_ANSWER = 24, 256
_DRAWS_OF_MANY = 12  # to ask, if not all groups of the tasks can be listed


@dataclass(frozen=True, eq=False)
class StudyState:
    """All results, jobs and settings that a decision is based on.

    Args:
        budget: Maximum number of networks.
        results: Results of trainings that decide, those from before the study among them.
        trainings_left: Number of jobs that may still be planned.
        prior: Affinities that may predict gains; how far to trust them is learned.
        tolerance: Differences of the overall gain smaller than this do not matter.
        seed: Random seed of groups and posterior draws; the first seed of the trainings.
        ways: How groups share in `results`, if not all jointly (`with_best_ways`).
        left_out: Jobs whose results are those of another way (`with_best_ways`).
        n_ended: Number of jobs that have ended, of all ways.
        n_failed: Number of those that failed.
    """

    tasks: Mapping[str, Score]
    budget: int
    results: tuple[Result, ...] = ()
    pending: tuple[Job, ...] = ()
    failed: tuple[Job, ...] = ()
    trainings_left: int = 0
    prior: tuple[AffinityMatrix, ...] = ()
    tolerance: float = 0.01
    seed: int = 0
    ways: Mapping[frozenset[str], str] = field(default_factory=dict[frozenset[str], str])
    left_out: tuple[Job, ...] = ()
    n_ended: int = 0
    n_failed: int = 0

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The tasks."""
        return tuple(self.tasks)

    @cached_property
    def all_in_one(self) -> Grouping:
        """One network for all tasks."""
        return Grouping((Network.of(*self.names),))

    @cached_property
    def separate(self) -> Grouping:
        """One network per task."""
        return Grouping(tuple(Network.of(task) for task in self.names))

    @cached_property
    def trained(self) -> dict[frozenset[str], list[Result]]:
        """The results of each group."""
        by_group: dict[frozenset[str], list[Result]] = defaultdict(list)
        for result in self.results:
            if result.validation:
                by_group[result.job.tasks].append(result)
        return dict(by_group)

    @cached_property
    def planned(self) -> set[tuple[frozenset[str], int]]:
        """The groups with the seeds on which they were or will be trained."""
        done = (result.job for result in self.results)
        jobs = [*done, *self.pending, *self.failed, *self.left_out]
        return {(job.tasks, job.seed) for job in jobs}

    @cached_property
    def failing(self) -> frozenset[frozenset[str]]:
        """Groups whose trainings all failed, several times."""
        failures = Counter(job.tasks for job in self.failed)
        return frozenset(
            group
            for group, count in failures.items()
            if count >= FAILURES and group not in self.trained
        )

    @cached_property
    def failing_tasks(self) -> frozenset[str]:
        """Tasks whose trainings all failed, even more often."""
        failures = Counter(task for job in self.failed for task in job.tasks)
        trained = {task for group in self.trained for task in group}
        return frozenset(
            task for task, count in failures.items() if count > FAILURES and task not in trained
        )

    def is_hopeless(self, group: frozenset[str]) -> bool:
        """Whether a training of the group is expected to fail."""
        return group in self.failing or bool(group & self.failing_tasks)


@dataclass(frozen=True)
class NextJob:
    """A training that would be useful, and why."""

    tasks: frozenset[str]
    seed: int
    why: str


@dataclass(frozen=True, eq=False)
class Answer:
    """The best grouping so far, with its gain and probability of being best.

    All gains are on the common scale of `Score.scale`.

    Args:
        candidates: The plan first, then those that it was compared with.
        networks: The mean gain of the tasks of each network of a candidate.
        is_decided: Whether the plan is best with probability `CONFIDENCE`, on several seeds, and no
            untried group has more than a `NEGLIGIBLE` chance to win.
        unknown: Questions that the results leave open, in sentences.
        untried: The probability that a group that was never trained makes a better grouping; the
            candidates' probabilities allow for it. NaN while no gain was measured.
    """

    candidates: tuple[Candidate, ...]
    networks: tuple[NetworkGain, ...]
    is_decided: bool
    unknown: tuple[str, ...]
    untried: float = nan

    @property
    def plan(self) -> Candidate:
        """The grouping that is best so far."""
        return self.candidates[0]


def next_jobs(state: StudyState) -> list[NextJob]:
    """The next useful trainings, at most as many as are left; none if the answer is decided.

    First come all tasks in one network, each task alone, the groups that the prior proposes and
    random groups, all on one seed. If there are not enough trainings for every task alone, the
    groups that the prior proposes and the tasks that it predicts to be harmed come first. Later
    groups are those that are most often in the best grouping of a posterior draw (Thompson
    sampling), weighted by their uncertainty and divided by their training time; the tasks of a
    chosen group are also trained alone on the same seed, for paired comparisons. Where the
    predictor is sure, groups that were never trained follow: one of them may be an exception.
    """
    if state.trainings_left < 1:
        return []
    opening = _opening(state)
    if opening:
        return opening[: state.trainings_left]
    if not _has_comparison(state):
        return [] if state.pending else _again(state)[: state.trainings_left]
    prediction = _Prediction.of(
        state, _DRAWS_TO_ASK if len(state.names) <= LISTED else _DRAWS_OF_MANY
    )
    answer = _answer(state, prediction)
    if answer.is_decided and current_answer(state).is_decided:  # with more draws
        return []
    groups = _untried_to_train(prediction, answer) or _promising(state, prediction, answer)
    return _with_tasks_alone(state, groups)[: state.trainings_left]


def current_answer(state: StudyState) -> Answer:
    """The best grouping so far; without any comparison it is the one that the prior proposes.

    Raises:
        InputError: If there is neither a result nor a prior.
    """
    if not state.trained and not state.prior:
        raise InputError(
            "Expected the result of at least one training, or a prior, but there is neither.",
            "no-results",
        )
    if not _has_comparison(state):
        proposed = _proposed_by_prior(state) if state.prior else state.all_in_one
        grouping = proposed if can_be_trained(proposed, state.is_hopeless) else state.separate
        plan = Candidate("plan", grouping, nan, nan, nan, nan, nan)
        unknown = (
            "No two trainings have a task in common, so no gain could be measured.",
            *_unknown(state, grouping),
        )
        return Answer((plan,), (), False, unknown)
    return _answer(state, _Prediction.of(state, _DRAWS_TO_ANSWER))


def measured_gains(state: StudyState, group: frozenset[str]) -> dict[str, tuple[float, int]]:
    """Gain over training alone of each task of a group, in its unit, and the number of trainings.

    Trainings with the same seed are compared if there are any, otherwise the means of all. Tasks
    that were not trained in both ways are left out.
    """
    gains: dict[str, tuple[float, int]] = {}
    for task in sorted(group):
        shared, alone = (
            {
                result.job.seed: result.validation[task]
                for result in state.trained.get(tasks, [])
                if result.validation and task in result.validation
            }
            for tasks in (group, frozenset({task}))
        )
        if not shared or not alone:
            continue
        seeds = sorted(shared.keys() & alone.keys())
        of_shared, of_alone = (
            [scores[seed] for seed in seeds or scores] for scores in (shared, alone)
        )
        gain = state.tasks[task].gain(float(np.mean(of_shared)), float(np.mean(of_alone)))
        gains[task] = (gain, len(of_shared))
    return gains


def with_best_ways(state: StudyState) -> StudyState:
    """The state with results of one way to share per group: joint training, or merged networks.

    A merged network has to gain more than joint training by the tolerance, on the same seeds.
    """
    alone = [result for result in state.results if len(result.job.tasks) == 1]
    best = dict.fromkeys(state.trained, "hard")
    for group, results in state.trained.items():
        seeds_of = {result.job.sharing: set[int]() for result in results}
        for result in results:
            seeds_of[result.job.sharing].add(result.job.seed)
        seeds = set.intersection(*seeds_of.values())
        gains: dict[str, float] = {}
        for way in seeds_of:
            paired = [r for r in results if r.job.sharing == way and r.job.seed in seeds]
            measured = measured_gains(replace(state, results=(*alone, *paired)), group)
            scores = {task: state.tasks[task] for task in measured}
            weights = weights_of(scores) if scores else {}
            scaled = [weights[task] * gain for task, (gain, _) in measured.items()]
            gains[way] = sum(scaled) / max(1, len(scaled)) - (way != "hard") * state.tolerance
        if seeds or "hard" not in gains:
            best[group] = max(gains, key=gains.__getitem__)
    chosen: list[Result] = []
    others: list[Result] = []
    for result in state.results:
        is_best = result.job.sharing == best.get(result.job.tasks, "hard")
        (chosen if is_best else others).append(result)
    left_out = tuple(result.job for result in others)
    return replace(state, results=tuple(chosen), ways=best, left_out=left_out)


def training_results(state: StudyState) -> TrainingResults:
    """The results as losses (`as_losses`), from which `CalibratedGains` gets the same gains.

    A task without any score gets a gain of 0 alone: the effect of sharing on it is unknown.
    """
    results = _latest(state)
    networks = list(dict.fromkeys(result.job.tasks for result in results))
    replicates = _replicates(results)
    shape = (len(networks), max(replicates) + 1, len(state.names))
    scores = torch.full(shape, nan, dtype=torch.double)
    for result, replicate in zip(results, replicates, strict=True):
        row = networks.index(result.job.tasks)
        for task, score in (result.validation or {}).items():
            scores[row, replicate, state.names.index(task)] = score
    levels = levels_of(networks, scores, state.tasks)
    losses = as_losses(scores, state.tasks, levels)
    for column, task in enumerate(state.names):
        if task in levels:
            continue
        networks.append(frozenset({task}))
        row = torch.full((1, *shape[1:]), nan, dtype=torch.double)
        row[0, 0, column] = 1.0
        losses = torch.cat([losses, row])
    return TrainingResults.from_losses(networks, state.names, losses)


def _latest(state: StudyState) -> list[Result]:
    """The latest results within `MOST_CELLS`, with one of each task alone and one of all."""
    results = [result for result in state.results if result.validation]
    ends = {frozenset({task}) for task in state.names} | {frozenset(state.names)}
    first = {result.job.tasks: result for result in results if result.job.tasks in ends}
    chosen = {id(result) for result in first.values()}
    cells = sum(len(result.job.tasks) for result in first.values())
    for result in reversed(results):
        if id(result) not in chosen:
            cells += len(result.job.tasks)
            if cells > MOST_CELLS:
                break
            chosen.add(id(result))
    return [result for result in results if id(result) in chosen]


def _replicates(results: Sequence[Result]) -> list[int]:
    """A number for each seed with several trainings; trainings on seeds of their own share one.

    A group that comes several times among those gets a further number each time.
    """
    trainings = Counter(result.job.seed for result in results)
    repeated: Counter[frozenset[str]] = Counter()
    numbers: dict[tuple[str, int], int] = {}
    replicates: list[int] = []
    for result in results:
        key = ("seed", result.job.seed)
        if trainings[result.job.seed] == 1:
            key = ("unpaired", repeated[result.job.tasks])
            repeated[result.job.tasks] += 1
        replicates.append(numbers.setdefault(key, len(numbers)))
    return replicates


def _has_comparison(state: StudyState) -> bool:
    """Whether some task has two scores on one replicate."""
    results = [result for result in state.results if result.validation]
    pairs = Counter(
        (task, replicate)
        for result, replicate in zip(results, _replicates(results), strict=True)
        for task in result.validation or {}
    )
    return any(count > 1 for count in pairs.values())


def _opening(state: StudyState) -> list[NextJob]:
    """The first trainings, before any gain can be predicted."""
    groups = {frozenset(state.names): "all tasks in one network"}
    alone = {frozenset({task}): "the task alone, to compare with" for task in state.names}
    proposed = {
        network.trained: "a group that the prior proposes"
        for network in (_proposed_by_prior(state).networks if state.prior else ())
        if not network.is_alone
    }
    allowed = len(state.planned) + state.trainings_left
    n_tasks = len(state.names)
    if allowed < n_tasks + 2:
        harmed = {frozenset({task}): "a task that the prior sees harmed" for task in _harmed(state)}
        groups |= {**proposed, **harmed, **alone}
        groups = dict(list(groups.items())[:allowed])
    else:
        groups |= {**alone, **proposed}
        generator = np.random.default_rng(state.seed)
        known = {group for group, _ in state.planned if len(group) > 1}
        n_random = max(2, n_tasks // 2) - len(known - groups.keys())
        wanted = min(len(groups | dict.fromkeys(known)) + n_random, 2**n_tasks - 1)
        while len(groups.keys() | known) < wanted:
            size = int(generator.integers(2, n_tasks + 1))
            chosen = generator.choice(n_tasks, size, replace=False)
            groups.setdefault(frozenset(state.names[place] for place in chosen), "a random group")
    known = {group for group, _ in state.planned}
    return [NextJob(group, state.seed, why) for group, why in groups.items() if group not in known]


def _again(state: StudyState) -> list[NextJob]:
    """If the first trainings gave no comparison: those that may still succeed, on a new seed."""
    seed = 1 + max((seed for _, seed in state.planned), default=state.seed)
    tasks = [task for task in state.names if task not in state.failing_tasks]
    groups = [frozenset(tasks), *(frozenset({task}) for task in tasks)]
    why = "earlier trainings gave nothing to compare"
    return [
        NextJob(group, seed, why) for group in dict.fromkeys(groups) if group not in state.failing
    ]


def _proposed_by_prior(state: StudyState) -> Grouping:
    budget = min(state.budget, len(state.names))
    return solve(_mean_of(state), budget, time_limit=5.0)


def _mean_of(state: StudyState) -> AffinityMatrix:
    """The mean of the priors, each in units of its own size."""
    total = torch.zeros(len(state.names), len(state.names), dtype=torch.double)
    for matrix in state.prior:
        order = [matrix.tasks.index(task) for task in state.names]
        values = matrix.values.double()[order][:, order].nan_to_num(0.0, 0.0, 0.0)
        values = values - values.diag().diag()
        size = values.abs().max()
        total += values / size if size > 0 else values
    return AffinityMatrix(state.names, total / len(state.prior))


def _harmed(state: StudyState) -> list[str]:
    """The tasks in the order of the prior's mean affinity onto them, the lowest first."""
    if not state.prior:
        return []
    onto = _mean_of(state).values.mean(dim=0).tolist()
    return [task for _, task in sorted(zip(onto, state.names, strict=True))]


@dataclass(frozen=True, eq=False)
class _Prediction:
    """The predicted gains of candidate groups, and the groups that were never trained."""

    candidates: CandidateSet
    untried: UntriedGroups

    @classmethod
    def of(cls, state: StudyState, n_draws: int) -> "_Prediction":
        measured = training_results(state)
        predicted = CalibratedGains(most_cells=_CELLS_TO_FIT)(measured, state.prior)
        known = [*measured.networks, frozenset(state.names)]  # also if that training has failed
        candidates = CandidateSet.from_prediction(
            predicted, state.budget, known, n_draws, state.seed + len(state.results)
        )
        tried = [group for group in state.trained if len(group) > 1]
        groups = _groups_to_try(state)
        known = measured.evaluation_loss[[len(group) > 1 for group in measured.networks]]
        gains = 1 - known[known.isfinite()]
        size = float(gains.square().mean().sqrt()) if len(gains) else 0.0
        return cls(
            candidates,
            UntriedGroups(
                tasks=state.names,
                groups=groups,
                predicted=predicted.mean(torch.from_numpy(groups)).nansum(dim=1).numpy(),
                n_tried=len(tried),
                surprise=max(size, LEAST_SURPRISE),
                tolerance=state.tolerance,
            ),
        )

    def chances(self, grouping: Grouping) -> np.ndarray:
        """The probability of each untried group to win over a grouping."""
        gains = self.candidates.mean[self.candidates.rows(grouping)] * len(self.candidates.tasks)
        networks = [each.trained for each in grouping.networks if not each.is_alone]
        return self.untried.chances(grouping, dict(zip(networks, gains.tolist(), strict=True)))

    def with_untried(self, candidate: Candidate) -> Candidate:
        """The candidate, with a probability that allows for groups that were never trained."""
        none = float(np.prod(1 - self.chances(candidate.grouping)))
        return replace(candidate, probability=candidate.probability * none)


def _groups_to_try(state: StudyState) -> np.ndarray:
    """Groups within the budget that were never trained and may succeed; many tasks: pairs only."""
    n_tasks = len(state.names)
    if n_tasks <= LISTED:
        groups = all_groups(n_tasks)
    else:
        one, other = np.triu_indices(n_tasks, 1)
        groups = np.eye(n_tasks, dtype=bool)[one] | np.eye(n_tasks, dtype=bool)[other]
    size = groups.sum(axis=1)
    groups = groups[(size > 1) & ((size == n_tasks) | (state.budget > 1))]
    names = np.array(state.names, dtype=object)
    is_open = [
        (group := frozenset(names[row].tolist())) not in state.trained
        and not state.is_hopeless(group)
        for row in groups
    ]
    return groups[np.array(is_open, dtype=bool)]


def _answer(state: StudyState, prediction: _Prediction) -> Answer:
    candidates = prediction.candidates
    possible = {
        name: grouping
        for name, grouping in (("separate", state.separate), ("all-in-one", state.all_in_one))
        if can_be_trained(grouping, state.is_hopeless)
    }
    best = candidates.without(state.is_hopeless).best_expected(state.budget)
    within_budget = [
        grouping for grouping in possible.values() if len(grouping.networks) <= state.budget
    ]
    plan, within = (
        candidates.prefer_simple(best, safe, LOSS_AVERSION, state.tolerance)
        for safe in (list(possible.values()), within_budget)
    )
    groupings = {"plan": plan, "within the budget": within, **possible}
    top = np.max(
        [candidates.best, *(candidates.samples_of(grouping) for grouping in possible.values())],
        axis=0,
    )
    judged = tuple(
        prediction.with_untried(candidates.describe(name, grouping, plan, top, state.tolerance))
        for name, grouping in groupings.items()
    )
    seeds = {result.job.seed for result in state.results if result.validation}
    chances = prediction.chances(plan)
    untried = 1 - float(np.prod(1 - chances))
    return Answer(
        candidates=judged,
        networks=tuple(
            candidates.gain_of(network).by_weights(state.tasks)
            for network in dict.fromkeys(
                network for grouping in groupings.values() for network in grouping.networks
            )
        ),
        is_decided=judged[0].probability >= CONFIDENCE
        and len(seeds) > 1
        and not (chances >= NEGLIGIBLE).any(),
        unknown=(*_unknown(state, plan), *_unknown_groups(prediction.untried, chances, untried)),
        untried=untried,
    )


def _untried_to_train(prediction: _Prediction, answer: Answer) -> dict[frozenset[str], str]:
    """Groups that were never trained, if only they can still change the answer."""
    if answer.plan.probability < CONFIDENCE * (1 - answer.untried):
        return {}  # the predictor itself is not sure
    chances = prediction.chances(answer.plan.grouping)
    if answer.untried <= 1 - CONFIDENCE and not (chances >= NEGLIGIBLE).any():
        return {}
    rows = np.argsort(-chances, kind="stable")[: max(1, len(prediction.untried.tasks) // 4)]
    why = "never trained: it may gain more than other groups suggest"
    return {prediction.untried.group(row): why for row in rows.tolist()}


def _promising(
    state: StudyState, prediction: _Prediction, answer: Answer
) -> dict[frozenset[str], str]:
    """Groups whose training is most likely to change the answer."""
    candidates, seed = prediction.candidates, _current_seed(state)
    worth = candidates.worth_of_training([each.grouping for each in answer.candidates])
    seconds = _seconds(state)
    order = sorted(worth, key=lambda row: (-worth[row] / seconds(candidates.group(row)), row))
    shared = [candidates.group(row) for row in order]
    shared = [group for group in shared if len(group) > 1 and not state.is_hopeless(group)]
    open_groups = [group for group in shared if (group, seed) not in state.planned] or shared
    n_groups = max(1, len(state.names) // 4, len(state.results) // 20)
    return dict.fromkeys(open_groups[:n_groups], "may change which grouping is best")


def _current_seed(state: StudyState) -> int:
    """The first seed on which few groups of several tasks were trained."""
    seed = state.seed
    enough = len(state.names)
    while sum(planned == seed and len(group) > 1 for group, planned in state.planned) >= enough:
        seed += 1
    return seed


def _with_tasks_alone(state: StudyState, groups: Mapping[frozenset[str], str]) -> list[NextJob]:
    """A training of each group, and of its tasks alone on the same seed.

    The seed is one on which all its tasks were trained alone, if there is one.
    """
    first = _current_seed(state)
    seeds = sorted({seed for _, seed in state.planned if state.seed <= seed < first})
    jobs: dict[tuple[frozenset[str], int], str] = {}
    for group, why in groups.items():
        alone = [frozenset({task}) for task in sorted(group)]
        alone = [task for task in alone if not state.is_hopeless(task)]
        paired = (seed for seed in seeds if all((task, seed) in state.planned for task in alone))
        seed = next(paired, first) if group not in state.trained else first
        while (group, seed) in state.planned:
            seed += 1
        jobs[group, seed] = why
        for task in alone:
            if (task, seed) not in state.planned:
                jobs.setdefault((task, seed), "the task alone on the same seed, to compare with")
    return [NextJob(group, seed, why) for (group, seed), why in jobs.items()]


def _seconds(state: StudyState) -> Callable[[frozenset[str]], float]:
    """The seconds that a training of a group takes, linear in the number of its tasks."""
    pairs = [
        (len(result.job.tasks), result.seconds)
        for result in state.results
        if result.seconds is not None and result.seconds > 0
    ]
    if not pairs:
        return lambda group: 1.0  # noqa: ARG005
    sizes, seconds = np.array(pairs, dtype=float).T
    slope = 0.0
    if len(set(sizes.tolist())) > 1:
        slope = max(0.0, float(np.cov(sizes, seconds)[0, 1] / np.var(sizes, ddof=1)))
    base = float(seconds.mean()) - slope * float(sizes.mean())
    base = max(base, 0.1 * float(seconds.mean()))
    return lambda group: base + slope * len(group)


def _unknown(state: StudyState, plan: Grouping) -> tuple[str, ...]:
    """Questions about a plan that the results leave open, in sentences."""
    scored = {task for result in state.results for task in result.validation or {}}
    alone = {task for task in state.names for r in state.trained.get(frozenset({task}), []) if r}
    sentences: list[str] = []
    if missing := [task for task in state.names if task not in scored]:
        sentences.append(f"No training gave a score for {_listed(missing)}.")
    if missing := [task for task in state.names if task in scored and task not in alone]:
        sentences.append(
            f"{_listed(missing)}: never trained alone, so it is not known whether sharing "
            "helps or harms."
        )
    sentences += [
        f"The network of {_listed(sorted(network.trained))} was not trained; its gain is predicted "
        "from other groups."
        for network in plan.networks
        if not network.is_alone and network.trained not in state.trained
    ]
    if around_zero := tasks_around_zero(state.results, state.tasks):
        sentences.append(
            f"{explain_around_zero(around_zero)} A study cannot change its scores: make a new one."
        )
    if {group for group in state.trained if len(group) > 1} == {frozenset(state.names)}:
        sentences.append("The only group that was trained is all tasks together.")
    if len({result.job.seed for result in state.results}) == 1:
        sentences.append(
            "All trainings had the same seed: how much gains vary between data splits is not known."
        )
    sentences += [
        f"Every training of {_listed(sorted(group))} failed."
        for group in sorted(state.failing, key=sorted)
    ]
    return tuple(sentences)


def _unknown_groups(untried: UntriedGroups, chances: np.ndarray, chance: float) -> tuple[str, ...]:
    """How many groups were never trained, and what they could change."""
    if chance < 0.5 * NEGLIGIBLE:
        return ()
    n_tasks = len(untried.tasks)
    n_pairs, total = int((untried.groups.sum(axis=1) == 2).sum()), n_tasks * (n_tasks - 1) // 2
    first = [untried.group(row) for row in np.argsort(-chances, kind="stable")[:3].tolist()]
    examples = "; ".join(_listed(sorted(group)) for group in first)
    were = "was" if n_pairs == 1 else "were"
    what = (
        f"{n_pairs} of {total} pairs {were}" if n_pairs else "Some groups of 3 tasks or more were"
    )
    return (
        f"{what} never trained together as a group of their own. The highest chance to gain have "
        f"{examples}. The probability that an untried group makes a grouping better than the plan "
        f"by more than the tolerance is about {in_percent(chance)}.",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
