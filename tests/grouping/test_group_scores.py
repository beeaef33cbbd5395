"""Tables of group scores, costs and constraints."""

import math
import re
from itertools import combinations

import pandas as pd
import pytest
import torch
from codes import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.grouping import (
    SOLVERS,
    Budget,
    CandidateGroup,
    Constraints,
    GroupingObjective,
    GroupScores,
    Network,
    solve,
)

TASKS = ("depth", "edges", "normals", "keypoints")


NUMBERS = st.one_of(st.integers(-2, 2).map(float), st.floats(-1, 1, width=16))
GROUPS = [group for size in range(1, 5) for group in combinations(TASKS, size)]
ROWS = st.tuples(
    st.sampled_from(GROUPS),
    st.lists(st.one_of(NUMBERS, st.just(math.nan)), min_size=4, max_size=4),
    st.sampled_from([1.0, 1.5]),
)


def table_of(
    alone: list[float], rows: list[tuple[tuple[str, ...], list[float], float]]
) -> GroupScores:
    lone = [
        CandidateGroup({task: score}, cost=0.5) for task, score in zip(TASKS, alone, strict=True)
    ]
    groups = [
        CandidateGroup(dict(zip(group, scores, strict=False)), cost) for group, scores, cost in rows
    ]
    return GroupScores(TASKS, (*lone, *groups))


def best_by_brute_force(
    table: GroupScores, overlap: bool, networks: int | None, cost: float | None
) -> float:
    best = -math.inf
    for size in range(1, len(TASKS) + 1):
        if networks is not None and size > networks:
            continue
        for chosen in combinations(table.candidates, size):
            if cost is not None and sum(candidate.cost for candidate in chosen) > cost:
                continue
            count = sum(len(candidate.trained) for candidate in chosen)
            if not overlap and count != len(TASKS):
                continue
            total = 0.0
            for task in TASKS:
                scores = [c.scores.get(task, math.nan) for c in chosen]
                known = [score for score in scores if not math.isnan(score)]
                total += max(known) if known else -math.inf
            best = max(best, total)
    return best


@settings(max_examples=50, deadline=None)
@given(
    alone=st.lists(NUMBERS, min_size=4, max_size=4),
    rows=st.lists(ROWS, max_size=8),
    overlap=st.booleans(),
    networks=st.sampled_from([None, 1, 2, 3, 4]),
    cost=st.sampled_from([None, 1.0, 1.5, 2.0, 2.5]),
)
def test_a_table_is_solved_as_well_as_by_brute_force(
    alone: list[float],
    rows: list[tuple[tuple[str, ...], list[float], float]],
    overlap: bool,
    networks: int | None,
    cost: float | None,
) -> None:
    if networks is None and cost is None:
        return
    table = table_of(alone, rows)
    budget = Budget(networks=networks, cost=cost)
    expected = best_by_brute_force(table, overlap, networks, cost)
    if expected == -math.inf:
        with raises("constraints-in-conflict"):
            solve(table, budget, overlap=overlap)
        return
    found = solve(table, budget, overlap=overlap)
    assert found.score == pytest.approx(expected, abs=1e-9)
    assert found.is_optimal
    assert found.cost is not None
    assert cost is None or found.cost <= cost


def random_matrix(n_tasks: int, seed: int) -> AffinityMatrix:
    generator = torch.Generator().manual_seed(seed)
    return AffinityMatrix(
        tuple(f"task {index}" for index in range(n_tasks)),
        torch.randn(n_tasks, n_tasks, generator=generator, dtype=torch.float64),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("overlap", [False, True])
def test_a_matrix_with_costs_is_solved_like_its_table(seed: int, overlap: bool) -> None:
    matrix = random_matrix(5, seed)
    budget = Budget(cost=2.5, cost_of=lambda trained: 0.5 if len(trained) == 1 else 1.0)
    groups = [g for size in range(1, 6) for g in combinations(matrix.tasks, size)]
    table = GroupScores(
        matrix.tasks,
        tuple(
            CandidateGroup(
                {
                    task: sum(matrix.between(other, task) for other in group if other != task)
                    / max(1, len(group) - 1)
                    for task in group
                },
                cost=budget.of(frozenset(group)),
            )
            for group in groups
        ),
    )
    expected = solve(table, budget, overlap=overlap).score
    assert solve(matrix, budget, overlap=overlap).score == pytest.approx(expected)
    if not overlap:
        found = solve(matrix, budget, solver="integer_program")
        assert found.score == pytest.approx(expected)
        assert found.is_optimal


def test_of_networks_that_are_as_good_the_one_that_trains_fewest_is_taken() -> None:
    table = GroupScores(
        ("depth", "edges", "normals"),
        (
            CandidateGroup({"depth": 1.0, "edges": 0.0, "normals": 0.0}),
            CandidateGroup({"depth": 1.0, "edges": 0.0}),
            CandidateGroup({"edges": 1.0, "normals": 1.0}),
        ),
    )
    found = solve(table, 2, overlap=True)
    assert found.network_of("depth").trained == {"depth", "edges"}


def test_variants_of_a_network_are_told_apart() -> None:
    small = CandidateGroup({"depth": 0.0}, cost=0.5, variant="half-size")
    table = GroupScores(("depth",), (small, CandidateGroup({"depth": 1.0})))
    assert solve(table, Budget(cost=0.5)).networks[0].variant == "half-size"
    assert solve(table, Budget(cost=1.0)).networks[0].variant is None


def test_weights_and_the_prohibition_to_stand_alone_hold_for_tables() -> None:
    table = GroupScores(
        ("depth", "edges"),
        (
            CandidateGroup({"depth": 1.0}),
            CandidateGroup({"edges": 0.0}),
            CandidateGroup({"depth": 0.0, "edges": 0.5}),
        ),
    )
    assert len(solve(table, 2).networks) == 2
    assert len(solve(table, 2, objective=GroupingObjective.tag()).networks) == 1
    assert len(solve(table, 2, objective=GroupingObjective(weights={"edges": 3.0})).networks) == 1


def test_a_table_is_read_from_a_frame() -> None:
    frame = pd.DataFrame(
        {
            "candidate": ["a", "b", "b"],
            "task": ["depth", "depth", "edges"],
            "score": [0.5, 0.25, 1.0],
            "cost": [0.5, 1.0, 1.0],
        }
    )
    table = GroupScores.from_frame(frame)
    assert table.tasks == ("depth", "edges")
    assert [candidate.cost for candidate in table.candidates] == [0.5, 1.0]
    with raises("missing-column"):
        GroupScores.from_frame(frame.drop(columns="score"))


def test_a_table_that_cannot_serve_a_task_names_it() -> None:
    with raises("unserved-task"):
        GroupScores(("depth", "edges"), (CandidateGroup({"depth": 1.0, "edges": math.nan}),))
    with raises("unknown-task"):
        GroupScores(("depth",), (CandidateGroup({"depth": 1.0, "text": 0.0}),))


@pytest.mark.parametrize(
    ("constraints", "networks", "named"),
    [
        (
            Constraints(
                together=[("depth", "edges"), ("edges", "normals")], apart=[("depth", "normals")]
            ),
            3,
            r"together \['depth', 'edges'\]; together \['edges', 'normals'\]; apart",
        ),
        (
            Constraints(largest=1, apart=[("depth", "edges")]),
            2,
            r"networks of at most 1",
        ),
        (
            Constraints(apart=[("depth", "edges", "normals")]),
            2,
            r"apart \['depth', 'edges'",
        ),
        (
            Constraints(fixed=[("depth", "edges"), ("normals",)], together=[("edges", "normals")]),
            4,
            r"together \['edges', 'normals'\]; fixed \['depth', 'edges'\]; fixed \['normals'\]",
        ),
    ],
)
def test_constraints_in_conflict_are_named_and_only_these(
    constraints: Constraints, networks: int, named: str
) -> None:
    matrix = AffinityMatrix(TASKS, torch.ones(4, 4))
    for solver in (None, *SOLVERS):
        with raises("constraints-in-conflict") as caught:
            solve(matrix, networks, constraints=constraints, solver=solver)
        in_conflict = str(caught.value).split("conflict:")[1]
        assert re.search(named, in_conflict)
        assert "keypoints'" not in in_conflict


def test_a_lone_task_that_may_not_stand_alone_is_in_conflict() -> None:
    matrix = AffinityMatrix(("depth",), torch.zeros(1, 1))
    with raises("constraints-in-conflict"):
        solve(matrix, 1, objective=GroupingObjective.tag())
    with raises("budget-too-large"):
        solve(matrix, Budget(networks=3, exactly=True))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    overlap=st.booleans(),
    together=st.lists(st.sets(st.sampled_from(TASKS), min_size=2, max_size=2), max_size=1),
    apart=st.lists(st.sets(st.sampled_from(TASKS), min_size=2, max_size=2), max_size=2),
    largest=st.sampled_from([None, 2, 3]),
    helpers=st.sets(st.sampled_from(TASKS), max_size=2),
    budget=st.integers(1, 4),
)
def test_exact_solvers_agree_under_any_constraints(
    seed: int,
    overlap: bool,
    together: list[set[str]],
    apart: list[set[str]],
    largest: int | None,
    helpers: set[str],
    budget: int,
) -> None:
    matrix = AffinityMatrix(TASKS, random_matrix(4, seed).values)
    constraints = Constraints(together=together, apart=apart, largest=largest, helpers=helpers)
    found = []
    for solver in ("dynamic_programming", "integer_program", "local_search"):
        try:
            found.append(
                solve(matrix, budget, overlap=overlap, constraints=constraints, solver=solver)
            )
        except InputError as error:
            found.append(error)
    if isinstance(found[0], InputError):
        assert all(isinstance(each, InputError) for each in found)
        return
    scores = [each.score for each in found]
    assert scores[1] == pytest.approx(scores[0], abs=1e-9)
    assert scores[2] <= scores[0] + 1e-9
    assert found[2].bound >= scores[0] - 1e-9
    for each in found:
        for network in each.networks:
            assert largest is None or len(network.trained) <= largest
            assert not any(pair <= network.trained for pair in apart)
            assert overlap or network.trained - network.served <= helpers
        assert all(each.network_of(min(pair)) == each.network_of(max(pair)) for pair in together)


def test_fixed_networks_stay_and_take_others_in() -> None:
    values = torch.zeros(4, 4)
    values[0, 1] = values[1, 0] = 5.0  # would rather share
    values[0, 2] = values[1, 3] = 1.0
    found = solve(
        AffinityMatrix(TASKS, values), 2, constraints=Constraints(fixed=[("depth",), ("edges",)])
    )
    assert set(found.networks) == {Network.of("depth", "normals"), Network.of("edges", "keypoints")}
