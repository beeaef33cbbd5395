"""Groups that were never trained: no answer is sure while one of them may be an exception."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from affinity import Study
from affinity.grouping import Grouping, Network
from affinity.study.untried import UntriedGroups


def study_with_one_good_pair(
    folder: Path, n_tasks: int, number: int, harm: float, trainings: int = 16
) -> tuple[Study, frozenset[str]]:
    """A pair gains 30 % as a group of two; every other group changes losses by `harm`."""
    tasks = [f"t{task}" for task in range(n_tasks)]
    pairs = list(combinations(tasks, 2))
    pair = frozenset(pairs[(5 * number + 1) % len(pairs)])

    def train(group: tuple[str, ...], seed: int) -> dict[str, float]:
        factor = 0.7 if set(group) == pair else 1 + harm * (len(group) > 1)
        noise = np.random.default_rng([seed, number, *(map(tasks.index, group))])
        return {task: 0.5 * factor * (1 + 0.01 * noise.standard_normal()) for task in group}

    study = Study(folder, dict.fromkeys(tasks, "minimize"), n_tasks, trainings, seed=number)
    study.run(train)
    return study, pair


@pytest.mark.parametrize(
    ("n_tasks", "number", "harm"),
    [(4, 0, 0.1), (4, 1, 0.0), (5, 0, 0.1), (6, 0, 0.1)],
)
def test_a_pair_that_was_not_trained_is_never_ruled_out(
    tmp_path: Path, n_tasks: int, number: int, harm: float
) -> None:
    study, pair = study_with_one_good_pair(tmp_path, n_tasks, number, harm)
    answer = study.answer()
    found = any(network.trained == pair for network in answer.plan.grouping.networks)
    if not found:
        assert not answer.is_decided
        assert answer.plan.probability < 0.95
    if pair not in study.state().trained:
        assert answer.untried > 0.05
        assert any("never trained" in sentence for sentence in answer.unknown)
        assert study.plan().provenance.unknown == answer.unknown


def test_with_enough_trainings_the_pair_is_found(tmp_path: Path) -> None:
    study, pair = study_with_one_good_pair(tmp_path, 4, 2, harm=0.1, trainings=40)
    assert pair in {network.trained for network in study.plan().grouping.networks}
    assert study.answer().is_decided


def test_chances_of_untried_groups() -> None:
    pairs = np.array([[True, True, False], [True, False, True], [True, True, True]])
    untried = UntriedGroups(
        tasks=("a", "b", "c"),
        groups=pairs,
        predicted=np.array([0.0, -0.4, 0.0]),
        n_tried=2,
        surprise=0.1,
        tolerance=0.02 / 3,
    )
    separate = Grouping(tuple(map(Network.of, "abc")))
    gains = {network.trained: 0.0 for network in separate.networks}
    # Rule of succession: 1/4; a group of three: a quarter of that. Needed: 0.02 of two tasks' 0.2.
    chances = untried.chances(separate, gains)
    expected = [0.25 * np.exp(-0.1), 0.25 * np.exp(-2.1), 0.0625 * np.exp(-0.02 / 0.3)]
    np.testing.assert_allclose(chances, expected)
    together = {frozenset("ab"): 0.2, frozenset("c"): 0.0}
    grouping = Grouping((Network.of("a", "b"), Network.of("c")))
    assert (untried.chances(grouping, together) < chances)[[1, 2]].all()


def test_with_one_network_only_all_tasks_together_compete(tmp_path: Path) -> None:
    tasks = dict.fromkeys("abcd", "maximize")
    study = Study(tmp_path, tasks, budget=1, trainings=30)

    def train(group: tuple[str, ...], seed: int) -> dict[str, float]:
        return dict.fromkeys(group, 0.5 + 0.1 * len(group) + 1e-4 * seed)

    study.run(train)
    answer = study.answer()
    assert answer.untried == 0
    assert answer.is_decided
