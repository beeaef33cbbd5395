"""Agreement: how well estimated affinities predicted measured gains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affinity.estimates import AffinityMatrix
from affinity.statistics import spearman

from .evaluated_plan import EvaluatedPlan


@dataclass(frozen=True)
class Agreement:
    """How well estimated affinities predicted measured gains, over tasks that share.

    Args:
        spearman: Rank correlation between the mean affinity onto a task from its partners and the
            measured gain of the task with these partners; None with fewer than three tasks.
        n_tasks: Number of compared pairs of a task and its set of partners, each counted once.
    """

    spearman: float | None
    n_tasks: int

    @classmethod
    def from_plans(cls, matrix: AffinityMatrix, plans: Sequence[EvaluatedPlan]) -> "Agreement":
        """Compare affinities with the gains of these plans."""
        pairs: dict[tuple[str, frozenset[str]], tuple[float, float]] = {}
        values = matrix.values.double().numpy()  # source target
        positions = {task: position for position, task in enumerate(matrix.tasks)}
        for candidate in plans:
            gains = candidate.test.by_task()
            for task in gains:
                network = candidate.plan.grouping.network_of(task)
                partners = [positions[partner] for partner in network.trained - {task}]
                onto = values[partners, positions[task]]
                if len(onto) and np.isfinite(onto.mean()) and np.isfinite(gains[task]):
                    pairs[task, network.trained] = (float(onto.mean()), gains[task])
        estimated = [estimate for estimate, _ in pairs.values()]
        measured = [gain for _, gain in pairs.values()]
        correlation = spearman(estimated, measured)
        return cls(None if math.isnan(correlation) else correlation, n_tasks=len(pairs))
