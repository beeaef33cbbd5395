"""A time limit returns the best found with its gap, never nothing."""

import pytest
import torch

from affinity.estimates import AffinityMatrix
from affinity.grouping import SOLVERS, CandidateGroup, GroupScores, solve

TASKS = tuple(f"task {index:02d}" for index in range(20))


def random_matrix(n_tasks: int) -> AffinityMatrix:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(n_tasks, n_tasks, generator=generator, dtype=torch.float64)
    return AffinityMatrix(tuple(f"task {index:02d}" for index in range(n_tasks)), values)


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"dynamic_programming"}))
def test_a_matrix_is_answered_at_once(solver: str) -> None:
    n_tasks = 15
    found = solve(random_matrix(n_tasks), 4, solver=solver, time_limit=0.01)
    assert len(found.tasks) == n_tasks
    assert found.gap is not None
    assert found.seconds is not None
    exact = solve(random_matrix(n_tasks), 4)
    assert exact.is_optimal
    assert found.score is not None
    assert exact.score is not None
    assert found.bound is not None
    assert found.score <= exact.score + 1e-9 <= found.bound + 2e-9


def test_a_table_is_answered_with_more_than_the_worst() -> None:
    generator = torch.Generator().manual_seed(0)
    alone = [CandidateGroup({task: 0.0}) for task in TASKS]
    groups = [
        CandidateGroup(dict(zip(TASKS, torch.randn(20, generator=generator).tolist(), strict=True)))
        for _ in range(200)
    ]
    table = GroupScores(TASKS, (*alone, *groups))
    found = solve(table, 3, overlap=True, time_limit=0.01)
    one = max(sum(candidate.scores.values()) for candidate in groups)
    assert found.score is not None
    assert found.score >= one
    assert found.bound is not None
    assert found.bound >= found.score
