"""Pairs: a checked affinity matrix in the form that solvers read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, eq=False)
class Pairs:
    """What every source adds to every target's score, weights included.

    Args:
        tasks: In the order of their names, so that no solver sees the order of the user.
        onto: ``[source target]``, 0 on the diagonal.
        lone: What each task scores alone.
        is_mean: Whether partners are averaged; else they are summed.
        smallest: How many tasks a network trains at least.
    """

    tasks: tuple[str, ...]
    onto: Float64[np.ndarray, "source target"]
    lone: Float64[np.ndarray, "task"]
    is_mean: bool
    smallest: int

    def score(self, trained: Sequence[int], served: Sequence[int]) -> float:
        """The summed score of the `served` tasks in a network trained on `trained`."""
        if len(trained) < self.smallest:
            return -np.inf
        if len(trained) == 1:
            return float(self.lone[served[0]])
        total = float(self.onto[np.ix_(trained, served)].sum())
        return total / (len(trained) - 1) if self.is_mean else total
