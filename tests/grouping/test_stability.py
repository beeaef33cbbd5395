"""How certain a grouping is, and the frontier of budgets."""

import pytest
import torch
from codes import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from affinity.estimates import AffinityMatrix
from affinity.grouping import Budget, Constraints, GroupingObjective, frontier, solve, stability


def blocks(error: float, noise: float = 0.0, seed: int = 0, n_tasks: int = 6) -> AffinityMatrix:
    generator = torch.Generator().manual_seed(seed)
    block = torch.arange(n_tasks) * 2 // n_tasks
    values = 2.0 * (block[:, None] == block) - 1.0
    values = values + noise * torch.randn(n_tasks, n_tasks, generator=generator)
    return AffinityMatrix(
        tuple(f"task {index:02d}" for index in range(n_tasks)),
        values,
        standard_error=torch.full((n_tasks, n_tasks), error),
    )


@pytest.mark.parametrize("n_tasks", [6, 14])
def test_clear_blocks_are_certain(n_tasks: int) -> None:
    sure = stability(blocks(0.01, n_tasks=n_tasks), budget=2, n_replicates=40)
    assert sure.frequency == 1.0
    same = torch.tensor(sure.together)
    half = n_tasks // 2
    assert (same[:half, :half] == 1).all()
    assert (same[:half, half:] == 0).all()
    assert sure.all_in_one is not None
    assert sure.all_in_one.is_distinguishable()
    assert sure.separate is not None
    assert sure.separate.difference == pytest.approx(n_tasks)
    assert sure.separate.is_distinguishable()
    assert sure.n_replicates == 40


def test_noise_is_not_told_from_all_in_one_or_separate() -> None:
    """The chance of a false finding is at most the level, over matrices of noise alone."""
    found = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(5, 5, generator=generator)
        tasks = tuple(f"task {index}" for index in range(5))
        noise = AffinityMatrix(tasks, values, standard_error=torch.ones(5, 5))
        unsure = stability(noise, budget=2, n_replicates=49, seed=seed)
        assert unsure.all_in_one is not None
        found.append(unsure.all_in_one.is_distinguishable(0.1))
    assert sum(found) <= 7  # 3 expected; 8 or more come once in 130 times


def test_runners_up_are_the_next_best_of_all_partitions() -> None:
    matrix = blocks(0.5, noise=0.5)
    unsure = stability(matrix, budget=3, n_runners_up=3, n_replicates=20)
    distances = [runner.distance for runner in unsure.runners_up]
    assert distances == sorted(distances)
    best = unsure.grouping.score
    assert best is not None
    for runner in unsure.runners_up:
        score = GroupingObjective().score(matrix, runner.grouping)
        assert best - score == pytest.approx(runner.distance)
        assert set(runner.grouping.networks) != set(unsure.grouping.networks)
    both = solve(matrix, 3, constraints=Constraints(apart=[_a_pair(unsure.grouping)]))
    assert both.score is not None
    assert best - both.score >= unsure.runners_up[0].distance - 1e-9


def _a_pair(grouping: object) -> tuple[str, ...]:
    networks = grouping.networks  # pyright: ignore[reportAttributeAccessIssue]
    return tuple(sorted(max((n.served for n in networks), key=len)))[:2]


def test_replicates_take_the_place_of_standard_errors() -> None:
    replicates = [blocks(0.0, noise=0.05, seed=seed) for seed in range(30)]
    matrix = AffinityMatrix(replicates[0].tasks, blocks(0.0).values)
    sure = stability(matrix, budget=2, replicates=replicates)
    assert sure.n_replicates == 30
    assert sure.frequency == 1.0
    assert sure.all_in_one is not None
    assert sure.all_in_one.p_value == pytest.approx(1 / 31)


def test_stability_is_the_same_with_tasks_in_another_order() -> None:
    matrix = blocks(0.5, noise=0.3)
    order = [3, 1, 5, 0, 2, 4]
    replicates = [blocks(0.0, noise=1.0, seed=seed) for seed in range(10)]
    one = stability(matrix, 2, replicates=replicates)
    shuffled = AffinityMatrix(
        tuple(matrix.tasks[index] for index in order), matrix.values[order][:, order]
    )
    other = stability(shuffled, 2, replicates=replicates)
    assert (other.together == one.together[order][:, order]).all()
    assert one.frame()["together"].sum() == pytest.approx(other.frame()["together"].sum())


@pytest.mark.parametrize("overlap", [False, True])
def test_a_budget_of_cost_is_kept_in_every_replicate(overlap: bool) -> None:
    matrix = blocks(0.5, noise=0.3, n_tasks=4)
    budget = Budget(cost=1.5, cost_of=lambda trained: 0.5 if len(trained) == 1 else 1.0)
    replicates = [blocks(0.0, noise=1.0, seed=seed, n_tasks=4) for seed in range(8)]
    unsure = stability(matrix, budget, replicates=replicates, overlap=overlap)
    assert unsure.n_replicates == len(replicates)
    mean = torch.stack([each.values for each in replicates]).mean(dim=0)
    same = torch.zeros(4, 4, dtype=torch.float64)
    for each in replicates:
        drawn = AffinityMatrix(matrix.tasks, matrix.values + each.values - mean)
        found = solve(drawn, budget, overlap=overlap)
        homes = [found.network_of(task) for task in matrix.tasks]
        same += torch.tensor([[float(one == other) for other in homes] for one in homes])
    assert torch.tensor(unsure.together).allclose(same / len(replicates))
    for runner in unsure.runners_up:
        assert sum(budget.of(network.trained) for network in runner.grouping.networks) <= 1.5
        assert GroupingObjective().score(matrix, runner.grouping) == pytest.approx(
            runner.grouping.score
        )


def test_stability_needs_errors() -> None:
    matrix = AffinityMatrix(("depth", "edges"), torch.zeros(2, 2))
    with raises("no-standard-errors"):
        stability(matrix, 1)
    with raises("too-few-replicates"):
        stability(blocks(0.1), 1, n_replicates=0)
    other = AffinityMatrix(("depth", "text"), torch.zeros(2, 2))
    with raises("different-tasks"):
        stability(matrix, 1, replicates=[other])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n_tasks=st.integers(1, 5), overlap=st.booleans())
def test_the_frontier_is_the_best_of_every_budget(seed: int, n_tasks: int, overlap: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(n_tasks, n_tasks, generator=generator, dtype=torch.float64)
    matrix = AffinityMatrix(tuple("abcde"[:n_tasks]), values)
    best = frontier(matrix, overlap=overlap)
    assert list(best) == list(range(1, n_tasks + 1))
    for budget, grouping in best.items():
        assert grouping.score == pytest.approx(solve(matrix, budget, overlap=overlap).score)
        assert grouping.is_optimal


def test_the_frontier_of_many_tasks_rises() -> None:
    best = frontier(blocks(0.0, noise=0.5, n_tasks=24), largest=6, time_limit=5.0)
    scores = [grouping.score or 0.0 for grouping in best.values()]
    assert scores == sorted(scores)
    assert all((grouping.gap or 0.0) >= 0 for grouping in best.values())


def test_the_frontier_starts_where_the_constraints_can_be_met() -> None:
    best = frontier(blocks(0.0), constraints=Constraints(largest=2))
    assert list(best) == [3, 4, 5, 6]
