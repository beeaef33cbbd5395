"""The race finds a planted grouping, says when nothing is to be gained, and keeps to its limits."""

import inspect
import math
import random
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
import torch
from codes import raises, warns

from affinity.audit import Race, retrain
from affinity.audit.blocks import MOST_BLOCKS
from affinity.audit.candidates import CandidateSet
from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping, Network
from affinity.problems import NetworkTrainer, TrainingResults, load_digits
from affinity.tasks import Score
from affinity.training import FunctionTrainer, Job, Result, TrainingSettings

TASKS = ("a", "b", "c", "d", "e", "f")
CLUSTERS = ({"a", "b", "c"}, {"d", "e", "f"})


class Table:
    """Networks whose gains are known, measured with noise."""

    def __init__(self, within: float, across: float, noise: float = 0.02, seed: int = 0) -> None:
        self.within, self.across, self.noise = within, across, noise
        self.generator = np.random.default_rng(seed)
        self.asked: list[list[frozenset[str]]] = []

    def gain(self, task: str, network: frozenset[str]) -> float:
        others = network - {task}
        (own,) = (cluster for cluster in CLUSTERS if task in cluster)
        effects = [self.within if other in own else self.across for other in others]
        return float(np.mean(effects)) if effects else 0.0

    def __call__(self, networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
        assert number == len(self.asked)
        self.asked.append(list(networks))
        losses = torch.full((len(networks), 1, len(TASKS)), math.nan, dtype=torch.double)
        rows = 0.1 * self.generator.normal(size=len(TASKS))
        for row, network in enumerate(networks):
            for column, task in enumerate(TASKS):
                if task in network:
                    error = self.noise * self.generator.normal()
                    losses[row, 0, column] = 1 - self.gain(task, network) + rows[column] + error
        return TrainingResults.from_losses(networks, TASKS, losses)


def _groups(raced):
    return {network.served for network in raced.winner.grouping.networks}


def test_a_race_finds_the_planted_clusters_and_stops():
    raced = Race(budget=2).over(TASKS, Table(within=0.2, across=-0.2))
    assert _groups(raced) == {frozenset(cluster) for cluster in CLUSTERS}
    assert raced.ended == "decided"
    assert raced.winner.probability >= 0.95
    assert raced.winner.low < 0.2 < raced.winner.high
    assert raced.trainings < 60  # of 63 networks and many replicates


def test_all_in_one_wins_where_everything_helps():
    raced = Race(budget=2).over(TASKS, Table(within=0.2, across=0.2))
    assert _groups(raced) == {frozenset(TASKS)} or "all-in-one" in raced.indistinguishable


def test_separate_networks_win_where_everything_harms():
    raced = Race(budget=2).over(TASKS, Table(within=-0.2, across=-0.2))
    assert _groups(raced) == {frozenset({task}) for task in TASKS}
    assert raced.winner.gain == 0


def test_where_nothing_is_to_be_gained_the_safe_choices_cannot_be_told_apart():
    raced = Race(budget=3, trainings=60).over(TASKS, Table(within=0.0, across=0.0))
    assert raced.indistinguishable == ("separate",)  # the plan is all-in-one
    assert abs(raced.winner.gain) < 0.01
    assert _groups(raced) == {frozenset(TASKS)}
    assert "fewest networks" in raced.to_plan().reasons[0]


@pytest.mark.parametrize(("tolerance", "stands"), [(0.0, True), (0.05, False)])
def test_a_grouping_has_to_gain_more_than_is_of_interest(tolerance: float, stands: bool):
    table = Table(within=0.04, across=0.02, noise=0.002)  # the clusters gain 0.012 more than all
    raced = Race(budget=2, trainings=80, tolerance=tolerance, confidence=1.0).over(TASKS, table)
    assert (_groups(raced) == {frozenset(cluster) for cluster in CLUSTERS}) == stands
    if not stands:
        assert _groups(raced) == {frozenset(TASKS)}


def test_a_race_keeps_to_the_trainings_allowed():
    table = Table(within=0.01, across=0.0, noise=0.3)
    raced = Race(budget=2, trainings=40, tolerance=0.0).over(TASKS, table)
    assert raced.ended == "out of trainings"
    assert raced.trainings == sum(map(len, table.asked)) <= 40


def test_branches_come_first_and_on_rows_of_their_own():
    branches, table = Table(within=0.1, across=-0.1), Table(within=0.2, across=-0.2)
    numbers: list[int] = []

    def measure(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
        numbers.append(number)
        return table(networks, number - 1)

    raced = Race(budget=2, branches=20).over(TASKS, measure, branch=branches)
    assert _groups(raced) == {frozenset(cluster) for cluster in CLUSTERS}
    assert [len(asked) for asked in branches.asked] == [20] == [raced.branches]
    assert numbers == list(range(1, raced.rounds + 1))
    assert "20 short branches" in raced.to_plan().provenance.evidence


def test_no_group_is_trained_twice_in_a_round_and_tasks_alone_in_each():
    table = Table(within=0.1, across=-0.1, noise=0.1)
    Race(budget=2, trainings=80, tolerance=0.0).over(TASKS, table)
    for asked in table.asked:
        assert len(asked) == len(set(asked))
        assert {frozenset({task}) for task in TASKS} <= set(asked)
    assert frozenset(TASKS) in table.asked[0]


def test_equal_seeds_race_alike():
    one, other = (Race(budget=2).over(TASKS, Table(0.1, -0.1, seed=3)) for _ in range(2))
    assert one.candidates == other.candidates


@pytest.mark.slow
def test_a_race_over_more_tasks_than_can_be_listed_stays_within_the_budget():
    names = tuple(f"task {number}" for number in range(12))

    def measure(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
        generator = np.random.default_rng(number)
        losses = torch.full((len(networks), 1, 12), math.nan, dtype=torch.double)
        for row, network in enumerate(networks):
            for column, name in enumerate(names):
                if name in network:
                    alike = [names.index(other) % 2 == column % 2 for other in network - {name}]
                    gain = 0.3 * (2 * np.mean(alike) - 1) if alike else 0.0
                    losses[row, 0, column] = 1 - gain + 0.02 * generator.normal()
        return TrainingResults.from_losses(networks, names, losses)

    raced = Race(budget=2, trainings=60).over(names, measure)
    assert len(raced.winner.grouping.networks) <= 2
    assert raced.winner.grouping.tasks == frozenset(names)
    assert raced.winner.gain > 0.1


@pytest.mark.slow
def test_a_race_on_digits_makes_a_plan_with_measured_reasons(tmp_path):
    problem = load_digits(width=16).with_settings(TrainingSettings(epochs=3, batch_size=256))
    race = Race(budget=3, trainings=24)
    raced = race(problem, store=tmp_path)
    plan = raced.to_plan()
    assert plan.grouping.tasks == frozenset(problem.names)
    assert "measured" in plan.provenance.evidence
    assert len(list(tmp_path.glob("*.json"))) == raced.trainings
    again = race(problem, store=tmp_path)
    assert again.candidates == raced.candidates


def test_a_race_is_run_on_replicates_that_the_audit_does_not_judge_on(monkeypatch):
    problem = load_digits()
    seen: list[int] = []
    generator = random.Random(0)

    def train(_: NetworkTrainer, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:
            seen.append(job.seed)
            assert job.purpose == "decide"
            scores = {task: generator.random() for task in job.names}
            yield Result(job, scores, seconds=2.0)

    monkeypatch.setattr(NetworkTrainer, "__call__", train)
    raced = Race(budget=2, trainings=40)(problem)
    assert float(raced.measured.seconds.nansum()) == 2.0 * raced.trainings
    judging = inspect.signature(retrain).parameters["seed"].default
    assert len(seen) > 1
    assert not set(seen) & set(problem.replicate_seeds(1000, judging))


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("budget", 0, "budget-too-small"),
        ("confidence", 1.5, "not-a-probability"),
        ("loss_aversion", -1.0, "out-of-range"),
        ("loss_aversion", math.nan, "out-of-range"),
        ("tolerance", -0.1, "out-of-range"),
        ("tolerance", math.nan, "out-of-range"),
        ("seconds", -1.0, "out-of-range"),
        ("n_draws", 0, "out-of-range"),
        ("groups", 0, "out-of-range"),
        ("seed", -1, "out-of-range"),
    ],
)
def test_a_race_that_cannot_be_run_is_refused(name, value, code):
    with raises(code):
        Race(**{"budget": 2, name: value})


class ManyTasks:
    """Tasks "c/n" of cluster c that gain among themselves and lose with others, with noise."""

    def __init__(self, n_clusters: int, per_cluster: int, noise: float = 0.05) -> None:
        self.tasks = tuple(f"{c}/{n}" for c in range(n_clusters) for n in range(per_cluster))
        self.noise, self.asked = noise, list[list[frozenset[str]]]()

    @property
    def affinity(self) -> AffinityMatrix:
        cluster = torch.tensor([int(task.split("/")[0]) for task in self.tasks])
        noise = torch.randn(len(cluster), len(cluster), generator=torch.Generator().manual_seed(0))
        return AffinityMatrix(self.tasks, (cluster[:, None] == cluster).double() + noise)

    def __call__(self, networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
        self.asked.append(list(networks))
        generator = np.random.default_rng(number)
        losses = torch.full((len(networks), 1, len(self.tasks)), math.nan, dtype=torch.double)
        for row, network in enumerate(networks):
            clusters = np.array([task.split("/")[0] for task in network])
            for column, task in enumerate(self.tasks):
                if task in network:
                    inside = (clusters == task.split("/")[0]).mean()
                    gain = 0.3 * (2 * inside - 1) if len(network) > 1 else 0.0
                    losses[row, 0, column] = 1 - gain + self.noise * generator.normal()
        return TrainingResults.from_losses(networks, self.tasks, losses)


@pytest.mark.slow
def test_many_tasks_are_raced_in_blocks_of_similar_affinity():
    table = ManyTasks(n_clusters=3, per_cluster=30)
    raced = Race(trainings=170).over(table.tasks, table, [table.affinity])
    assert raced.winner.gain > 0.2
    assert len(raced.winner.grouping.networks) < 15
    for network in raced.winner.grouping.networks:
        assert len({task.split("/")[0] for task in network.served}) == 1
    counts = [sum(len(network) == 1 for network in asked) for asked in table.asked]
    assert all(count <= MOST_BLOCKS for count in counts)  # fewer than every task, in the first, too
    assert raced.candidate("separate").gain == 0.0


def test_a_budget_that_binds_is_reported():
    raced = Race(budget=1).over(TASKS, Table(within=0.2, across=-0.2))
    unlimited = raced.candidate("any number of networks")
    assert unlimited.gain > raced.candidate("within the budget").gain + 0.01
    names = {each.name for each in Race().over(TASKS, Table(0.2, -0.2)).candidates}
    assert "any number of networks" not in names


def test_a_race_tells_no_difference_from_too_few_trainings():
    clear = Race(budget=6).over(TASKS, Table(within=0.0, across=0.0, noise=0.001))
    assert (clear.finding, clear.ended) == ("no difference", "decided")
    noisy = Race(trainings=30).over(TASKS, Table(within=0.0, across=0.0, noise=0.2, seed=2))
    assert noisy.finding == "not enough trainings"
    this, *others = noisy.detectable
    assert this.trainings == noisy.trainings
    assert [each.trainings for each in others] == [24, 72, 240]
    gains = [each.gain for each in others]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 3 * clear.detectable[1].gain


def test_a_race_stops_early_where_its_trainings_show_nothing_worth_the_tolerance():
    table = Table(within=0.0, across=0.0, noise=0.5)
    raced = Race(trainings=100, tolerance=0.2).over(TASKS, table)
    assert (raced.ended, raced.finding) == ("too noisy", "not enough trainings")
    assert raced.trainings < 100


def loss_of(tasks: tuple[str, ...], task: str, seed: int) -> float:
    """Tasks of one cluster help each other by 10 %, tasks of two clusters harm each other."""
    noise = np.random.default_rng([seed, ord(task), len(tasks)]).normal(0, 0.005)
    return 0.5 * (1 - Table(within=0.2, across=-0.2).gain(task, frozenset(tasks)) + noise)


@pytest.mark.parametrize(
    ("score", "transform", "unit"),
    [
        ("minimize", lambda loss: loss, "relative"),
        ("minimize", lambda loss: loss - 3, "relative"),
        ("maximize", lambda loss: 1 - loss, "difference"),
        (Score("maximize", unit=0.002), lambda loss: 1 - loss, "common"),
    ],
)
def test_a_race_takes_any_trainer_and_any_kind_of_score(score, transform, unit):
    def train(tasks, seed):
        return {task: transform(loss_of(tasks, task, seed)) for task in tasks}

    scores = dict.fromkeys(TASKS, score)
    raced = Race(budget=2, trainings=80)(FunctionTrainer(train), tasks=scores)
    assert _groups(raced) == {frozenset(cluster) for cluster in CLUSTERS}
    assert raced.unit == unit
    # losses fall from 0.5 by 20 %
    level = abs(transform(0.5))
    expected = {"relative": 0.1 / level, "difference": 0.1, "common": 0.1 * 0.01 / 0.002}[unit]
    assert raced.winner.gain == pytest.approx(expected, rel=0.15)
    assert raced.to_plan().provenance.unit is not None


def test_a_failed_training_of_a_race_is_missing_and_told():
    def train(tasks, seed):
        if len(tasks) == len(TASKS):
            raise RuntimeError("out of memory")
        return {task: loss_of(tasks, task, seed) for task in tasks}

    race, scores = Race(budget=2, trainings=60), dict.fromkeys(TASKS, "minimize")
    with warns("failed-trainings"):
        raced = race(FunctionTrainer(train), tasks=scores)
    assert _groups(raced) == {frozenset(cluster) for cluster in CLUSTERS}


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
def test_the_unit_of_a_metric_does_not_matter(scale):
    """Noise of a hundredth of the scores: in units of 1e-4, it is a hundred times 1."""

    def train(tasks, seed):
        noise = np.random.default_rng([seed, *map(ord, tasks)]).normal(0, 0.01, len(tasks))
        gains = [Table(within=0.2, across=-0.2).gain(task, frozenset(tasks)) for task in tasks]
        return {
            task: scale * (0.5 + 0.5 * gain + each)
            for task, gain, each in zip(tasks, gains, noise, strict=True)
        }

    scores = dict.fromkeys(TASKS, Score("maximize"))
    race = Race(budget=2, trainings=60, tolerance=0.01 * scale)
    raced = race(FunctionTrainer(train), tasks=scores)
    assert _groups(raced) == {frozenset(cluster) for cluster in CLUSTERS}
    assert raced.winner.gain / scale == pytest.approx(0.1, rel=0.15)


class Losing(FunctionTrainer):
    """A trainer that returns no result for networks of three tasks or more."""

    def __call__(self, jobs: Iterable[Job]) -> Iterator[Result]:
        return super().__call__([job for job in jobs if len(job.tasks) < 3])


def test_a_training_without_a_result_has_failed():
    def train(tasks, seed):
        return {task: loss_of(tasks, task, seed) for task in tasks}

    with warns("failed-trainings"):
        raced = Race(trainings=30)(Losing(train), tasks=dict.fromkeys(TASKS, "minimize"))
    assert all(len(group) < 3 for group in _groups(raced))


def test_groups_that_cannot_be_trained_are_not_recommended():
    def train(tasks, seed):
        if len(tasks) > 1:
            raise RuntimeError("out of memory")
        return {task: loss_of(tasks, task, seed) for task in tasks}

    with warns("failed-trainings"):
        raced = Race(trainings=40)(FunctionTrainer(train), tasks=dict.fromkeys(TASKS, "minimize"))
    assert _groups(raced) == {frozenset({task}) for task in TASKS}
    counts = [raced.measured.networks.count(network) for network in raced.measured.networks]
    assert max(counts) == 1


def test_scores_around_zero_have_no_ratio_and_are_told():
    def train(tasks, seed):
        return {task: loss_of(tasks, task, seed) - 0.5 for task in tasks}

    with warns("scores-around-zero"):
        Race(budget=2, trainings=30)(FunctionTrainer(train), tasks=dict.fromkeys(TASKS, "minimize"))


def test_losses_below_zero_of_a_problem_have_the_right_sign(monkeypatch):
    def train(_: NetworkTrainer, jobs: Iterable[Job]) -> Iterator[Result]:
        for job in jobs:  # sharing reduces the losses, which are below 0
            losses = {task: -2.0 - 0.2 * (len(job.tasks) > 1) for task in job.names}
            yield Result(job, {task: loss - 0.001 * job.seed % 7 for task, loss in losses.items()})

    monkeypatch.setattr(NetworkTrainer, "__call__", train)
    raced = Race(budget=1, trainings=30)(load_digits())
    assert raced.candidate("all-in-one").gain == pytest.approx(0.1, abs=0.02)


def test_one_task_cannot_be_raced():
    with raises("too-few-tasks"):
        Race()(FunctionTrainer(loss_of), tasks={"a": "maximize"})


def test_a_race_needs_scores_of_every_task():
    def train(tasks, seed):
        return {task: None if task == "f" else 0.5 + seed for task in tasks}

    with raises("no-tasks"):
        Race(budget=2)(FunctionTrainer(train))
    with raises("no-scores"):
        Race(budget=2)(FunctionTrainer(train), tasks=dict.fromkeys(TASKS, "minimize"))

    def fail(tasks, seed):
        raise RuntimeError(f"no data for {tasks} and {seed}")

    with raises("all-trainings-failed"):
        Race(budget=2)(FunctionTrainer(fail), tasks=dict.fromkeys(TASKS, "minimize"))


def test_the_gain_of_a_network_is_the_weighted_mean_of_its_tasks():
    """Together, a gains 0.05, b 0.10, c 0.15; a weighs nine times as much as the others."""
    gains, weights = {"a": 0.05, "b": 0.10, "c": 0.15}, {"a": 9.0, "b": 1.0, "c": 1.0}

    def train(tasks, seed):
        noise = random.Random(f"{tasks} {seed}")
        return {
            task: 0.5 + gains[task] * (len(tasks) > 1) + noise.gauss(0, 0.001) for task in tasks
        }

    scores = {task: Score("maximize", weight=weight) for task, weight in weights.items()}
    raced = Race(budget=2, trainings=60)(FunctionTrainer(train), tasks=scores)
    shared = [each for each in raced.networks if not each.network.is_alone]
    assert {len(each.network.trained) for each in shared} == {2, 3}
    for each in shared:
        total = sum(weights[task] for task in each.network.trained)
        mean = sum(weights[task] * gains[task] for task in each.network.trained) / total
        assert each.gain == pytest.approx(mean, abs=0.01)
        assert each.low < mean < each.high


def test_networks_of_many_tasks_have_the_order_of_the_tasks():
    """So that the best grouping equals the one called "separate" where it is that."""
    names = tuple(f"task {number}" for number in range(12))
    groups = np.concatenate([np.eye(12, dtype=bool), np.ones((1, 12), dtype=bool)])
    mean, values = np.array([0.0] * 12 + [-1.0]), np.zeros((1, 13))
    posterior = CandidateSet(names, groups, mean, values, np.zeros((1, 12), dtype=np.int64))
    assert posterior.best_expected(12) == Grouping(tuple(map(Network.of, names)))
