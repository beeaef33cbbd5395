"""An evaluated plan: what a plan or a baseline scored over the replicates, and what it costs."""

from dataclasses import dataclass, replace

import numpy as np

from affinity.recommendation import Plan
from affinity.sharing import Cost
from affinity.statistics import Gains


@dataclass(frozen=True, eq=False)
class EvaluatedPlan:
    """One way to train all tasks, measured over the replicates.

    Args:
        plan: The networks; for a baseline that is drawn on every replicate, those of the first.
        test: Test losses compared with those of separate networks.
        evaluation: Losses on evaluation rows compared with those of separate networks; decisions
            see only these. (Validation losses would favour separate networks, each of which
            stopped where its one task did best on them.)
        metrics: Test metrics compared with those of separate networks.
        parameters: Of all its networks together; 0 if unknown.
        seconds: Training time per replicate; NaN if unknown.
        multiply_adds: To predict one row with all its networks; None if not counted.
        costs: Of each network of the plan, in its order; empty if not counted.
    """

    plan: Plan
    test: Gains
    evaluation: Gains
    metrics: Gains
    parameters: int
    seconds: float
    multiply_adds: int | None = None
    costs: tuple[Cost, ...] = ()

    def joined(self, more: "EvaluatedPlan") -> "EvaluatedPlan":
        """These replicates and more."""
        counts = [each.test.n_replicates for each in (self, more)]
        return replace(
            self,
            test=self.test.joined(more.test),
            evaluation=self.evaluation.joined(more.evaluation),
            metrics=self.metrics.joined(more.metrics),
            seconds=float(np.average([self.seconds, more.seconds], weights=counts)),
        )
