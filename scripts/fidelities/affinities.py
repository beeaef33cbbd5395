"""Choices from one recorded run, or from the labels alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .half import Half


@dataclass(frozen=True)
class FromAffinity:
    """A task gains in a group the mean affinity of its partners; alone it gains 0.

    Args:
        estimator: The estimator's name in ``affinities.csv``.
        alone: Whether a task may stand alone; TAG's authors forbid it.
    """

    estimator: str
    alone: bool = True

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``; an undefined affinity counts as 0."""
        predicted = mean_of_partners(np.nan_to_num(half.affinity(self.estimator, seed)))
        return predicted if self.alone else _never_alone(predicted)


@dataclass(frozen=True)
class Foretold:
    """A task gains what networks that are trained anyway foretell of the group.

    Args:
        estimator: Its name in ``foretold.csv.gz``.
        needs_alone: Whether it looks at a network for each task, not at one for all.
        alone: Whether a task may stand alone: a similarity does not tell.
    """

    estimator: str
    needs_alone: bool = False
    alone: bool = True

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        trainings = half.n_tasks if self.needs_alone else 1
        predicted = half.foretold(self.estimator, seed, trainings)
        return predicted if self.alone else _never_alone(predicted)


def _never_alone(predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    each = np.arange(predicted.shape[1])
    predicted[1 << each, each] = -1e9
    return predicted


def mean_of_partners(affinity: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[group task]`` from ``[source target]``: the mean over the group's other tasks; alone 0."""
    n_tasks = len(affinity)
    member = np.arange(1 << n_tasks)[:, None] >> np.arange(n_tasks) & 1
    partners = affinity.copy()
    np.fill_diagonal(partners, 0.0)
    count = np.maximum(1, member.sum(axis=1, keepdims=True) - 1)
    return np.where(member, member @ partners / count, np.nan)
