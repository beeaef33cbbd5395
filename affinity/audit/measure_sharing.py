"""Measuring ways to share: train each network of a grouping in each way, at equal size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from affinity.errors import InputError
from affinity.grouping import Grouping, Network
from affinity.problems import Problem
from affinity.recommendation import MeasuredSharing, Plan
from affinity.sharing import SHARINGS
from affinity.statistics import Gains
from affinity.tasks import Replicate

from .gates import Gates
from .train_plans import PlanResults, ScoreName, TrainingSpec, train_plans

WAYS = tuple(name for name, method in SHARINGS.items() if method.is_default)
"""The ways to share that are tried by default."""


def measure_sharing(
    problem: Problem,
    grouping: Grouping,
    replicates: int = 6,
    *,
    seed: int = 1,
    ways: Sequence[str] = WAYS,
    store: str | Path | None = None,
) -> dict[frozenset[str], tuple[MeasuredSharing, ...]]:
    """Train each multi-task network in each way to share; for `recommend(measured=...)`.

    All have about as many parameters as the hard-shared one (`at_equal_size`), and see the same
    rows in the same order. A mixture of experts is rejected if, in at least half of the replicates,
    the gate of a task uses a single expert or two experts are identical. Ways that the trunk does
    not support (cross-stitch without stages) are skipped.

    Args:
        problem: Tasks, rows, trunk and heads.
        grouping: The networks.
        replicates: Number of replicates.
        seed: Random seed of the replicates.
        ways: The ways to share that are compared; hard sharing is always included.
        store: A folder in which finished trainings are kept.

    Raises:
        InputError: If `replicates` is below 1.
    """
    if replicates < 1:
        raise InputError(f"Expected at least one replicate, but got {replicates}.", "no-replicates")
    drawn = problem.replicates(replicates, seed)
    return {
        network.trained: _measure_network(_Trainings(problem, network, drawn, store), ways)
        for network in grouping.networks
        if not network.is_alone
    }


@dataclass(frozen=True, eq=False)
class _Trainings:
    """Trainings of one network in different ways."""

    problem: Problem
    network: Network
    replicates: Sequence[Replicate]
    store: str | Path | None

    def plan(self, sharing: str) -> Plan:
        """A plan that consists of this network."""
        return Plan(Grouping((self.network,)), (sharing,), ("",))

    def train(self, sharing: str) -> PlanResults:
        return train_plans([self.plan(sharing)], self.problem, self.replicates, store=self.store)

    def scores(self, results: PlanResults, sharing: str, score: ScoreName) -> Tensor:
        """Scores of the tasks that the network serves."""
        names = self.problem.names
        columns = [column for column, name in enumerate(names) if name in self.network.served]
        return results.served(self.plan(sharing), score)[:, columns]


def _measure_network(trainings: _Trainings, ways: Sequence[str]) -> tuple[MeasuredSharing, ...]:
    hard = trainings.train("hard")
    served = tuple(name for name in trainings.problem.names if name in trainings.network.served)
    measured: list[MeasuredSharing] = []
    for sharing in dict.fromkeys(("hard", *ways)):
        try:
            results = trainings.train(sharing)
        except InputError:  # does not fit the trunk
            continue

        def gains(
            score: ScoreName, results: PlanResults = results, sharing: str = sharing
        ) -> np.ndarray:
            scores = trainings.scores(results, sharing, score)
            return Gains(served, scores, trainings.scores(hard, "hard", score)).overall()

        veto = _fault(trainings, results) if sharing == "mmoe" else None
        measured.append(
            MeasuredSharing(sharing, gains("evaluation_loss"), gains("test_loss"), veto)
        )
    return tuple(measured)


def _fault(trainings: _Trainings, results: PlanResults) -> str | None:
    """Why a mixture is rejected, if it fails in at least half of the replicates."""
    (networks,) = results.networks(trainings.plan("mmoe"))
    if n_diverged := sum(network.diverged is not None for network in networks):
        return f"its training diverged in {n_diverged} of {len(networks)} replicates"
    spec = TrainingSpec(trainings.network.trained, "mmoe")
    return Gates.from_networks(trainings.problem, spec, networks, trainings.replicates).fault
