"""Agreement: how well estimated affinities foretold measured gains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from affinity.estimates import AffinityMatrix

from .evaluated_plan import EvaluatedPlan


@dataclass(frozen=True)
class Agreement:
    """How well estimated affinities foretold measured gains, over tasks that share.

    Args:
        spearman: Rank correlation of the mean affinity onto a task from its partners with the
            gain it had with them; NaN with fewer than three tasks.
        n_tasks: Task and partners in each arrangement, counted once.
    """

    spearman: float
    n_tasks: int

    @classmethod
    def of(cls, matrix: AffinityMatrix, arrangements: Sequence[EvaluatedPlan]) -> "Agreement":
        """Of these affinities with the gains of these arrangements."""
        pairs: dict[tuple[str, frozenset[str]], tuple[float, float]] = {}
        for arrangement in arrangements:
            gains = arrangement.test.relative()
            for task in gains:
                network = arrangement.plan.grouping.network_of(task)
                partners = network.trained - {task}
                onto = [matrix.between(partner, task) for partner in partners]
                if onto and np.isfinite(np.mean(onto)) and np.isfinite(gains[task]):
                    pairs[task, network.trained] = (float(np.mean(onto)), gains[task])
        estimated = [estimate for estimate, _ in pairs.values()]
        measured = [gain for _, gain in pairs.values()]
        if len(pairs) < 3 or np.ptp(estimated) == 0 or np.ptp(measured) == 0:
            return cls(spearman=float("nan"), n_tasks=len(pairs))
        correlation = float(stats.spearmanr(estimated, measured).statistic)  # pyright: ignore[reportAttributeAccessIssue]
        return cls(spearman=correlation, n_tasks=len(pairs))
