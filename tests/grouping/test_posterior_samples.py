"""The best grouping of every posterior sample is the one that brute force finds."""

import numpy as np
from codes import raises
from hypothesis import given, settings
from hypothesis import strategies as st

from affinity.grouping import all_groups, solve_posterior_samples


def _partitions(tasks: list[int]) -> list[list[list[int]]]:
    if not tasks:
        return [[]]
    first, *rest = tasks
    found = []
    for smaller in _partitions(rest):
        found.append([[first], *smaller])
        found += [
            [*smaller[:at], [first, *smaller[at]], *smaller[at + 1 :]] for at in range(len(smaller))
        ]
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_best_grouping_of_each_sample_is_that_of_brute_force(n_tasks, networks, seed):
    values = np.random.default_rng(seed).integers(-4, 5, (3, 2**n_tasks - 1)).astype(float)
    best, chosen = solve_posterior_samples(values, n_tasks, networks)
    for draw in range(3):
        tried = max(
            sum(values[draw, sum(1 << task for task in group) - 1] for group in partition)
            for partition in _partitions(list(range(n_tasks)))
            if len(partition) <= networks
        )
        rows = chosen[draw][chosen[draw] >= 0]
        assert best[draw] == tried == values[draw, rows].sum()
        assert (all_groups(n_tasks)[rows].sum(axis=0) == 1).all()


def test_too_many_tasks_to_list_all_groups_are_refused():
    with raises("too-many-tasks"):
        all_groups(11)
