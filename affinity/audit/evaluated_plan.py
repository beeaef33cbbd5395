"""An evaluated plan: the scores of a plan or baseline over the replicates, and its cost."""

from dataclasses import dataclass

from affinity.recommendation import Plan
from affinity.sharing import Cost
from affinity.statistics import Gains


@dataclass(frozen=True, eq=False)
class EvaluatedPlan:
    """One way to train all tasks, measured over the replicates.

    Args:
        plan: The networks; for a baseline that is sampled per replicate, those of the first
            replicate.
        test: Test losses compared with those of separate networks.
        evaluation: Losses on selection rows compared with those of separate networks; decisions
            use only these. (Validation losses would favour separate networks, because early
            stopping selects the best epoch for their single task on the validation rows.)
        metrics: Test metrics compared with those of separate networks.
        parameters: Total number of parameters of its networks; 0 if unknown.
        seconds: Training time per replicate; NaN if unknown.
        multiply_adds: Multiply-adds to predict one row with all its networks; None if not counted.
        costs: Cost of each network, in the order of the plan; empty if not counted.
        unfinished: The share of tasks, over all replicates, whose network was still improving when
            its limit on epochs ended its training; 0 if unknown.
    """

    plan: Plan
    test: Gains
    evaluation: Gains
    metrics: Gains
    parameters: int
    seconds: float
    multiply_adds: int | None = None
    costs: tuple[Cost, ...] = ()
    unfinished: float = 0.0
