"""Laws of every solver, and exactness against brute force."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from codes import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from affinity import Plan, load, recommend, save
from affinity.estimates import AffinityMatrix
from affinity.grouping import (
    SOLVERS,
    Budget,
    Constraints,
    Grouping,
    GroupingObjective,
    Network,
    solve,
)

NAMES = ("depth", "edges", "normals", "keypoints", "semantics", "curvature")
solvers = pytest.mark.parametrize("solver", sorted(SOLVERS))


NUMBERS = st.one_of(st.integers(-2, 2).map(float), st.floats(-1, 1, width=16))


def squares(most: int) -> st.SearchStrategy[list[list[float]]]:
    """Rows of a square matrix, with ties, negative numbers and zeros."""
    return st.integers(1, most).flatmap(
        lambda n: st.lists(st.lists(NUMBERS, min_size=n, max_size=n), min_size=n, max_size=n)
    )


def matrix_of(rows: list[list[float]]) -> AffinityMatrix:
    return AffinityMatrix(NAMES[: len(rows)], torch.tensor(rows, dtype=torch.float64))


def partitions(tasks: tuple[str, ...]) -> Iterator[list[frozenset[str]]]:
    if not tasks:
        yield []
        return
    first, *rest = tasks
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            left = tuple(task for task in rest if task not in others)
            for more in partitions(left):
                yield [frozenset((first, *others)), *more]


def supersets(served: frozenset[str], tasks: tuple[str, ...]) -> Iterator[frozenset[str]]:
    rest = [task for task in tasks if task not in served]
    for size in range(len(rest) + 1):
        for helpers in combinations(rest, size):
            yield served | set(helpers)


def best_by_brute_force(
    matrix: AffinityMatrix, n_networks: int, overlap: bool, objective: GroupingObjective
) -> float:
    """The highest score of any grouping, by the definition alone."""
    best = -float("inf")
    worth: dict[frozenset[str], float] = {}
    for parts in partitions(matrix.tasks):
        if len(parts) > n_networks:
            continue
        for served in parts:
            if served not in worth:
                trained_sets = supersets(served, matrix.tasks) if overlap else [served]
                worth[served] = max(
                    sum(task_score(matrix, task, trained, objective) for task in served)
                    for trained in trained_sets
                )
        best = max(best, sum(worth[served] for served in parts))
    return best


def task_score(
    matrix: AffinityMatrix, task: str, trained: frozenset[str], objective: GroupingObjective
) -> float:
    partners = [matrix.between(other, task) for other in trained if other != task]
    if not partners:
        return -float("inf") if objective.lone == "forbidden" else 0.0
    return sum(partners) / (len(partners) if objective.pooling == "mean" else 1)


@settings(max_examples=80, deadline=None)
@given(
    rows=squares(5),
    budget=st.integers(1, 5),
    overlap=st.booleans(),
    pooling=st.sampled_from(["mean", "sum"]),
    lone=st.sampled_from([0.0, "forbidden"]),
)
def test_the_exact_solver_is_as_good_as_brute_force(
    rows: list[list[float]], budget: int, overlap: bool, pooling: str, lone: float | str
) -> None:
    matrix, budget = matrix_of(rows), min(budget, len(rows))
    objective = GroupingObjective(pooling=pooling, lone=lone)  # pyright: ignore[reportArgumentType]
    expected = best_by_brute_force(matrix, budget, overlap, objective)
    if expected == -float("inf"):
        return
    found = solve(matrix, budget, overlap=overlap, objective=objective)
    assert found.score == pytest.approx(expected, abs=1e-9)
    assert found.is_optimal
    assert objective.score(matrix, found) == pytest.approx(found.score, abs=1e-9)


@solvers
@settings(max_examples=15, deadline=None)
@given(rows=squares(5), budget=st.integers(1, 5), overlap=st.booleans())
def test_every_task_is_served_once_within_budget_and_bound(
    solver: str, rows: list[list[float]], budget: int, overlap: bool
) -> None:
    matrix, budget = matrix_of(rows), min(budget, len(rows))
    found = solve(matrix, budget, overlap=overlap, solver=solver)
    assert found.tasks == frozenset(matrix.tasks)
    assert 1 <= len(found.networks) <= budget
    assert overlap or all(network.trained == network.served for network in found.networks)
    assert found.score is not None
    assert found.bound is not None
    best = best_by_brute_force(matrix, budget, overlap, GroupingObjective())
    assert found.score <= best + 1e-9
    assert found.bound >= best - 1e-9
    assert GroupingObjective().score(matrix, found) == pytest.approx(found.score, abs=1e-9)


@solvers
@settings(max_examples=8, deadline=None)
@given(rows=squares(5), budget=st.integers(1, 5), data=st.data())
def test_reordering_the_tasks_reorders_nothing_but_names(
    solver: str, rows: list[list[float]], budget: int, data: st.DataObject
) -> None:
    matrix, budget = matrix_of(rows), min(budget, len(rows))
    order = data.draw(st.permutations(range(len(matrix.tasks))))
    shuffled = AffinityMatrix(
        tuple(matrix.tasks[index] for index in order), matrix.values[order][:, order]
    )
    assert set(solve(shuffled, budget, solver=solver).networks) == set(
        solve(matrix, budget, solver=solver).networks
    )


@solvers
@settings(max_examples=8, deadline=None)
@given(rows=squares(5), budget=st.integers(1, 5), overlap=st.booleans())
def test_scaling_the_scores_scales_the_score(
    solver: str, rows: list[list[float]], budget: int, overlap: bool
) -> None:
    matrix, budget = matrix_of(rows), min(budget, len(rows))
    scaled = AffinityMatrix(matrix.tasks, 1024 * matrix.values)
    score = solve(matrix, budget, overlap=overlap, solver=solver).score
    assert score is not None
    assert solve(scaled, budget, overlap=overlap, solver=solver).score == pytest.approx(
        1024 * score, abs=1e-9
    )


@solvers
@settings(max_examples=8, deadline=None)
@given(rows=squares(5), overlap=st.booleans())
def test_adding_budget_never_lowers_the_score(
    solver: str, rows: list[list[float]], overlap: bool
) -> None:
    matrix = matrix_of(rows)
    scores = [
        solve(matrix, budget, overlap=overlap, solver=solver).score or 0.0
        for budget in range(1, len(matrix.tasks) + 1)
    ]
    assert all(more >= less - 1e-9 for less, more in pairwise(scores))


@solvers
@settings(max_examples=8, deadline=None)
@given(rows=squares(5), budget=st.integers(1, 5), seed=st.integers(0, 9))
def test_the_same_seed_gives_the_same_grouping(
    solver: str, rows: list[list[float]], budget: int, seed: int
) -> None:
    matrix, budget = matrix_of(rows), min(budget, len(rows))
    found = [solve(matrix, budget, solver=solver, seed=seed).networks for _ in range(2)]
    assert found[0] == found[1]


def planted(n_tasks: int, n_blocks: int, noise: float, seed: int = 0) -> AffinityMatrix:
    generator = torch.Generator().manual_seed(seed)
    block = torch.arange(n_tasks) * n_blocks // n_tasks
    values = (block[:, None] == block).double()
    values += noise * torch.randn(n_tasks, n_tasks, generator=generator, dtype=torch.float64)
    return AffinityMatrix(tuple(f"task {index:03d}" for index in range(n_tasks)), values)


@pytest.mark.parametrize(
    ("n_tasks", "n_blocks", "noise"), [(60, 5, 0.2), (139, 5, 0.2), (100, 10, 0.5)]
)
def test_planted_blocks_are_found_with_a_proven_gap(
    n_tasks: int, n_blocks: int, noise: float
) -> None:
    found = solve(planted(n_tasks, n_blocks, noise), budget=n_blocks)
    blocks = [
        frozenset(f"task {task:03d}" for task in range(n_tasks) if task * n_blocks // n_tasks == at)
        for at in range(n_blocks)
    ]
    assert {network.served for network in found.networks} == set(blocks)
    assert found.gap is not None
    assert found.score is not None
    assert found.gap <= 0.01 * found.score


def test_a_lone_task_scores_its_lone_term() -> None:
    matrix = AffinityMatrix(("depth", "edges"), torch.tensor([[0.5, -1.0], [-1.0, 0.25]]))
    alone = Grouping((Network.of("depth"), Network.of("edges")))
    assert solve(matrix, 2).networks == alone.networks
    assert solve(matrix, 2, objective=GroupingObjective(lone="diagonal")).score == 0.75
    assert solve(matrix, 2, objective=GroupingObjective(lone={"edges": -3.0})).score == -2.0
    assert solve(matrix, 2, objective=GroupingObjective.tag()).score == -2.0


def test_weights_decide_whom_the_grouping_is_for() -> None:
    values = torch.tensor([[0.0, -2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    matrix = AffinityMatrix(("depth", "edges", "normals"), values)
    assert solve(matrix, 3).network_of("depth").is_alone
    weighted = solve(matrix, 3, objective=GroupingObjective(weights={"depth": 3.0}))
    assert weighted.network_of("depth").served == {"depth", "edges"}
    assert weighted.score == 1.0


def test_constraints_are_kept() -> None:
    matrix = planted(6, 2, noise=0.0)
    first, second, third, *_, last = matrix.tasks
    constraints = Constraints(together=[(first, last)], apart=[(first, second)], largest=3)
    for solver in SOLVERS:
        found = solve(matrix, 3, constraints=constraints, solver=solver)
        assert last in found.network_of(first).served
        assert second not in found.network_of(first).served
        assert max(len(network.trained) for network in found.networks) <= 3
    fixed = solve(matrix, 3, constraints=Constraints(fixed=[(first,), (second, third)]))
    assert fixed.network_of(first) != fixed.network_of(second)
    assert fixed.network_of(second) == fixed.network_of(third)


def test_a_helper_is_trained_where_it_is_not_served() -> None:
    values = torch.tensor([[0.0, 1.0, 1.0], [-1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]])
    matrix = AffinityMatrix(("depth", "edges", "normals"), values)
    found = solve(matrix, 3, constraints=Constraints(helpers=["depth"]))
    assert found.score == 2.0
    assert found.network_of("edges") == Network(
        frozenset(("depth", "edges")), frozenset(("edges",))
    )
    assert found.network_of("depth").is_alone


def test_exactly_the_number_of_networks_is_used() -> None:
    matrix = planted(6, 1, noise=0.0)
    for solver in SOLVERS:
        found = solve(matrix, Budget(networks=2, exactly=True), solver=solver)
        assert len(found.networks) == 2


def test_bad_matrices_name_the_pairs() -> None:
    values = torch.tensor([[0.0, float("nan")], [1.0, 0.0]])
    matrix = AffinityMatrix(("depth", "edges"), values)
    with raises("unknown-affinity") as caught:
        solve(matrix, 1)
    assert "'depth' onto 'edges'" in str(caught.value)
    assert solve(matrix, 1, objective=GroupingObjective(unknown=0.0)).score == 1.0
    infinite = AffinityMatrix(("depth", "edges"), torch.tensor([[0.0, 1.0], [float("inf"), 0.0]]))
    with raises("infinite-affinity") as caught:
        solve(infinite, 1)
    assert "'edges' onto 'depth'" in str(caught.value)


def test_bad_budgets_solvers_and_constraints_are_refused() -> None:
    matrix = planted(4, 2, noise=0.0)
    with raises("budget-too-small"):
        solve(matrix, 0)
    with raises("budget-too-large"):
        solve(matrix, 5)
    with raises("invalid-cost"):
        solve(matrix, Budget(cost=2.0, cost_of=lambda _: float("nan")))
    with raises("invalid-time-limit"):
        solve(matrix, 2, time_limit=float("nan"))
    with raises("invalid-seed"):
        solve(matrix, 2, seed=-1)
    with raises("invalid-constraint"):
        Constraints(fixed=[()])
    with raises("invalid-constraint"):
        Constraints(largest=0)
    with raises("unknown-solver"):
        solve(matrix, 2, solver="magic")
    with raises("unknown-task"):
        solve(matrix, 2, constraints=Constraints(apart=[("text", "task 000")]))
    with raises("unknown-task"):
        solve(matrix, 2, objective=GroupingObjective(weights={"text": 2.0}))


def test_no_certificate_where_conflicting_helpers_are_too_many():
    tasks = tuple(f"t{at:02d}" for at in range(15))
    values = torch.rand(15, 15, generator=torch.Generator().manual_seed(0))
    matrix = AffinityMatrix(tasks, values)
    constraints = Constraints(apart=[("t00", "t01")])
    with raises("too-large-for-solver"):
        solve(matrix, budget=3, overlap=True, constraints=constraints, solver="integer_program")
    grouping = solve(matrix, budget=3, overlap=True, constraints=constraints)
    assert grouping.score <= grouping.bound


@pytest.mark.parametrize("n_tasks", [8, 14])
@pytest.mark.parametrize("overlap", [False, True])
def test_exact_solvers_agree_and_local_search_is_close(n_tasks: int, overlap: bool) -> None:
    matrix = planted(n_tasks, 3, noise=1.0)
    scores = {name: solve(matrix, 4, overlap=overlap, solver=name).score or 0.0 for name in SOLVERS}
    best = scores["dynamic_programming"]
    assert scores["integer_program"] == pytest.approx(best, abs=1e-9)
    assert 0.9 * best <= scores["local_search"] <= best + 1e-9


@solvers
def test_every_solver_makes_a_plan_that_is_saved_and_loaded(solver: str, tmp_path: Path) -> None:
    matrix = planted(5, 2, noise=0.1)
    plan = recommend(matrix, solve(matrix, 2, solver=solver))
    assert plan.grouping.solver == solver
    assert load(save(plan, tmp_path / "plan.safetensors")) == plan
    listed = Plan.from_yaml(plan.to_yaml(tmp_path / "plan.yaml")).grouping
    assert listed == replace(plan.grouping, seconds=None, cost=None)
