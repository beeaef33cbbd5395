"""A study does not call an answer decided while what would change it was never tried."""

from pathlib import Path

import numpy as np
import pytest

from affinity import Score, Study
from affinity.study import StudyState, current_answer
from affinity.training import Job, Result


@pytest.mark.parametrize(("n_tasks", "seed"), [(4, 0), (4, 1), (4, 2), (6, 0)])
def test_the_only_pair_that_gains_is_found_or_the_answer_is_not_decided(
    n_tasks: int, seed: int, tmp_path: Path
) -> None:
    names = [f"task {number}" for number in range(n_tasks)]
    rng = np.random.default_rng(seed)
    pair = frozenset(rng.choice(names, 2, replace=False).tolist())

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        gain = 0.4 if frozenset(tasks) == pair else -0.1 * (len(tasks) - 1)
        noise = np.random.default_rng([seed, *sorted(map(names.index, tasks))])
        return {task: float(1 - gain + 0.01 * noise.normal()) for task in tasks}

    losses = dict.fromkeys(names, "minimize")
    study = Study(tmp_path, losses, budget=n_tasks, trainings=4 * n_tasks, seed=seed)
    study.run(train)
    answer = study.answer()
    finds_pair = any(network.trained == pair for network in answer.plan.grouping.networks)
    assert finds_pair or not answer.is_decided
    was_trained = any(frozenset(row) == pair for row in study.state().trained)
    assert was_trained or any("never trained together" in text for text in answer.unknown)


def test_a_plain_answer_is_still_decided(tmp_path: Path) -> None:
    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        noise = np.random.default_rng([seed, len(tasks)])
        return {task: float(1 + 0.5 * (len(tasks) - 1) + 0.01 * noise.normal()) for task in tasks}

    study = Study(tmp_path, dict.fromkeys("abcd", "minimize"), budget=4, trainings=40)
    study.run(train)
    assert study.answer().is_decided
    assert len(study.answer().plan.grouping.networks) == 4
    assert study.status().done < 40


def test_one_network_for_many_tasks_may_have_failed():
    """Of ten tasks not all groups are listed: its gain is predicted, and it is not the plan."""
    tasks = tuple("abcdefghij")

    def result_of(group: tuple[str, ...]) -> Result:
        scores = dict.fromkeys(group, 0.5 - 0.1 * (len(group) > 1))
        return Result(Job("", frozenset(group), 0), validation=scores)

    results = tuple(map(result_of, [*((task,) for task in tasks), ("a", "b"), ("c", "d")]))
    failed = (Job("", frozenset(tasks), 0),)
    state = StudyState(dict.fromkeys(tasks, Score("maximize")), 4, results, failed=failed)
    answer = current_answer(state)
    assert answer.plan.grouping == state.separate
    assert [each.name for each in answer.candidates][-1] == "all-in-one"
