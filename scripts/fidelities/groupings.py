"""Every way to split the tasks into groups, and the best of them by a prediction.

A group is a number whose bits are its tasks: 5 is the first and the third. With eight tasks there
are 255 groups and 4,140 groupings, so the exact solver is to try them all.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Groupings:
    """All groupings of tasks.

    Args:
        groups: ``[grouping slot]``; the groups of each grouping, then zeros.
        sizes: ``[grouping]``; how many groups each has.
    """

    groups: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def totals(self, gains: NDArray[np.float64]) -> NDArray[np.float64]:
        """``[... grouping]``, the sum over the tasks, from gains ``[... group task]``."""
        n_tasks = gains.shape[-1]
        member = members(n_tasks)
        of_group = np.where(member, gains, 0.0).sum(axis=-1)  # ... group
        return of_group[..., self.groups].sum(axis=-1)

    def within(self, budget: int) -> NDArray[np.int64]:
        """The groupings of at most so many groups."""
        return np.flatnonzero(self.sizes <= budget)

    def best(self, gains: NDArray[np.float64], budget: int) -> int:
        """The grouping with the largest predicted total; of equals, the one with fewest groups."""
        allowed = self.within(budget)
        totals = self.totals(gains)[allowed]
        ties = allowed[totals >= totals.max() - 1e-12 * max(1.0, float(np.abs(totals).max()))]
        return int(ties[self.sizes[ties].argmin()])

    def number(self, grouping: tuple[int, ...]) -> int:
        """Which of the groupings has these groups."""
        wanted = sorted(grouping)
        for number in np.flatnonzero(self.sizes == len(wanted)):
            if sorted(self.groups[number, : len(wanted)].tolist()) == wanted:
                return int(number)
        raise ValueError(f"Expected groups that hold every task once, but got {grouping}.")


@cache
def groupings_of(n_tasks: int) -> Groupings:
    """All groupings of so many tasks."""
    found: list[list[int]] = [[]]
    for task in range(n_tasks):
        found = [
            [*grouping[:at], grouping[at] | 1 << task, *grouping[at + 1 :]]
            if at < len(grouping)
            else [*grouping, 1 << task]
            for grouping in found
            for at in range(len(grouping) + 1)
        ]
    groups = np.zeros((len(found), n_tasks), dtype=np.int64)
    for number, grouping in enumerate(found):
        groups[number, : len(grouping)] = grouping
    return Groupings(groups, (groups > 0).sum(axis=1))


@cache
def members(n_tasks: int) -> NDArray[np.bool_]:
    """``[group task]``; whether the group has the task. Group 0 is empty."""
    return (np.arange(1 << n_tasks)[:, None] >> np.arange(n_tasks) & 1).astype(bool)
