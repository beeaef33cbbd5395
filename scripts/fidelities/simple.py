"""What needs no measurement: all in one, separate, any grouping."""

from dataclasses import dataclass

import numpy as np

from .groupings import groupings_of
from .half import Half


@dataclass(frozen=True)
class AllInOne:
    """One network for all tasks."""

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The group of all tasks."""
        return ((1 << half.n_tasks) - 1,)


@dataclass(frozen=True)
class Separate:
    """A network a task where the budget allows it, else all in one."""

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """Every task alone."""
        if budget < half.n_tasks:
            return AllInOne()(half, budget, seed)
        return tuple(1 << task for task in range(half.n_tasks))


@dataclass(frozen=True)
class RandomGrouping:
    """Any grouping within the budget, each as likely."""

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """A grouping drawn by the seed."""
        groupings = groupings_of(half.n_tasks)
        chosen = np.random.default_rng(seed).choice(groupings.within(budget))
        return tuple(group for group in groupings.groups[chosen].tolist() if group)
