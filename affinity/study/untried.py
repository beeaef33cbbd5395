"""Untried groups: how likely it is that a group that was never trained makes a better grouping.

A predictor of gains is sure of itself where all measured groups agree. It cannot know whether one
group that nobody trained is an exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from affinity.grouping import Grouping
from affinity.tasks.score import MATTERS

LEAST_SURPRISE = 5 * MATTERS  # smallest assumed mean size per task, on the common scale
_RARER = 0.25  # a surprise in a group of one more task is this much less likely


@dataclass(frozen=True, eq=False)
class UntriedGroups:
    """Groups that were never trained, and the chance that each is better than predicted.

    The n groups that were trained held no surprise. By Laplace's rule of succession, the next one
    does with probability :math:`1 / (n + 2)`; a group of s tasks
    :math:`4^{s - 2}` times less often, because effects of many tasks together are rarer. The gain
    per task then exceeds the predicted one by an exponentially distributed amount. Its mean is the
    root mean square of the gains that were measured, and at least `LEAST_SURPRISE`. A group wins
    over a grouping if it replaces its own tasks' networks and the overall gain rises by more than
    the tolerance, where the tasks that it leaves behind keep their gains. That is optimistic for
    the group, so that the chance is rather too high than too low.
    """

    tasks: tuple[str, ...]
    groups: Bool[np.ndarray, "group task"]
    predicted: Float[np.ndarray, " group"]  # gain of each group, summed over its tasks
    n_tried: int  # groups of several tasks that were trained
    surprise: float  # mean size, per task
    tolerance: float  # smaller differences of the overall gain do not matter

    def chances(
        self, grouping: Grouping, gain_of: Mapping[frozenset[str], float]
    ) -> Float[np.ndarray, " group"]:
        """The probability of each group to win over a grouping.

        `gain_of` is the expected gain of each network of several tasks, summed over the tasks.
        """
        per_task = np.zeros(len(self.tasks))
        for network in grouping.networks:
            for task in network.served:
                gain = gain_of.get(network.trained, 0.0) / len(network.trained)
                per_task[self.tasks.index(task)] = gain
        size = self.groups.sum(axis=1)
        deficit = self.groups @ per_task - self.predicted + self.tolerance * len(self.tasks)
        exceeds = np.exp(-np.maximum(deficit, 0.0) / (self.surprise * size))
        return 1 / (self.n_tried + 2) * _RARER ** (size - 2) * exceeds

    def group(self, row: int) -> frozenset[str]:
        """The tasks of a group."""
        return frozenset(np.array(self.tasks, dtype=object)[self.groups[row]].tolist())
