"""The best grouping under every draw of uncertain group scores, for all draws at once."""

import numpy as np
from jaxtyping import Bool, Float, Int64

from affinity.errors import InputError

LARGEST = 10
"""The number of tasks up to which all groups are looked at."""


def all_groups(n_tasks: int) -> Bool[np.ndarray, "group task"]:
    """Every set of at least one task; row r holds the tasks of the binary digits of r + 1.

    Raises:
        InputError: If there are more than `LARGEST` tasks.

    Example:
        >>> all_groups(2).astype(int).tolist()
        [[1, 0], [0, 1], [1, 1]]
    """
    if n_tasks > LARGEST:
        raise InputError(f"Expected at most {LARGEST} tasks to list all groups, got {n_tasks}.")
    return ((np.arange(1, 2**n_tasks)[:, None] >> np.arange(n_tasks)) & 1).astype(bool)


def solve_posterior_samples(
    values: Float[np.ndarray, "draw group"], n_tasks: int, networks: int
) -> tuple[Float[np.ndarray, " draw"], Int64[np.ndarray, "draw network"]]:
    """The highest sum of values over disjoint groups that together hold every task.

    Dynamic programming over sets of tasks: the group of a set's first task, then the rest.

    Args:
        values: What each of `all_groups` is worth, a draw.
        n_tasks: How many tasks.
        networks: At most so many groups.

    Returns:
        The best sum a draw, and the rows of its groups in `all_groups`; -1 where fewer are used.

    Example:
        >>> values = np.array([[0.0, 0.0, 1.0], [0.5, 0.75, 1.0]])
        >>> solve_posterior_samples(values, n_tasks=2, networks=2)[0].tolist()
        [1.0, 1.25]
    """
    n_draws, n_sets = len(values), 2**n_tasks
    worth = np.concatenate([np.full((n_draws, 1), -np.inf), values], axis=1)  # draw set
    best = np.full((networks + 1, n_draws, n_sets), -np.inf)
    best[:, :, 0] = 0.0
    first = np.zeros((networks + 1, n_draws, n_sets), dtype=np.int64)
    every = np.arange(n_draws)
    for tasks in range(1, n_sets):
        lowest = tasks & -tasks
        subsets = _subsets(tasks ^ lowest) | lowest
        for count in range(1, networks + 1):
            sums = worth[:, subsets] + best[count - 1][:, tasks ^ subsets]
            choice = sums.argmax(axis=1)
            best[count, :, tasks] = sums[every, choice]
            first[count, :, tasks] = subsets[choice]
    chosen = np.full((n_draws, networks), -1, dtype=np.int64)
    left = np.full(n_draws, n_sets - 1)
    for used in range(networks):
        group = np.where(left > 0, first[networks - used, every, left], 0)
        chosen[:, used] = group - 1
        left = left & ~group
    return best[networks, :, -1], chosen


def _subsets(tasks: int) -> Int64[np.ndarray, " subset"]:
    """Every subset of a set, the empty one included."""
    digits = [1 << bit for bit in range(tasks.bit_length()) if tasks >> bit & 1]
    subsets = np.zeros(1, dtype=np.int64)
    for digit in digits:
        subsets = np.concatenate([subsets, subsets | digit])
    return subsets
