"""Each network of the plan in a row: tasks, sharing, what was expected, what was measured."""

import math
from dataclasses import dataclass

import numpy as np

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix
from affinity.grouping import Network
from affinity.sharing import SHARINGS, Cost


@dataclass(frozen=True)
class NetworkRow:
    """One network of the plan.

    Args:
        served: Tasks that it serves.
        helpers: Tasks that it is also trained on.
        sharing: How the tasks share parameters.
        reason: Why, as the plan says.
        expected: Mean estimated affinity onto the tasks served from their partners; None if alone.
        gain: Mean measured gain of the tasks served; NaN where undefined.
        low: Lower end of its 95 % interval; NaN from a single replicate.
        high: Upper end.
        cost: Parameters, and multiply-adds a row; None if not counted.
        share: Its parameters as a share of those of separate networks for the same tasks.
    """

    served: tuple[str, ...]
    helpers: tuple[str, ...]
    sharing: str
    reason: str
    expected: float | None
    gain: float
    low: float
    high: float
    cost: Cost | None = None
    share: float | None = None

    @property
    def sharing_label(self) -> str:
        """What the page calls the way to share."""
        return SHARINGS[self.sharing].label

    @property
    def confidence(self) -> str:
        """What the interval says."""
        if len(self.served) == 1 and not self.helpers:
            return "separate"
        if not math.isfinite(self.low):
            return "measured once"
        if self.low > 0:
            return "better than separate"
        if self.high < 0:
            return "worse than separate"
        return "not distinguishable from separate"


def network_rows(audit: Audit) -> list[NetworkRow]:
    """The networks of the audited plan, in its order."""
    place = {task: at for at, task in enumerate(audit.gains.tasks)}
    rows: list[NetworkRow] = []
    plan, costs = audit.plan, audit.candidates["plan"].costs
    alone = _alone(audit)
    for network, sharing, reason, cost in zip(
        plan.grouping.networks,
        plan.sharing,
        plan.reasons,
        costs or (None,) * len(plan.grouping.networks),
        strict=True,
    ):
        served = sorted(network.served, key=place.__getitem__)
        measured = audit.gains.of(served).estimate_overall()
        low, high = measured.interval()
        rows.append(
            NetworkRow(
                served=tuple(served),
                helpers=tuple(sorted(network.trained - network.served, key=place.__getitem__)),
                sharing=sharing,
                reason=reason,
                expected=_expected(audit.matrix, network),
                gain=float(measured.mean[0]),
                low=float(low[0]),
                high=float(high[0]),
                cost=cost,
                share=cost.parameters / sum(alone[task] for task in served)
                if cost is not None and alone
                else None,
            )
        )
    return rows


def _alone(audit: Audit) -> dict[str, int]:
    """Parameters of each task's separate network; empty if they were not counted."""
    separate = audit.candidates["separate"]
    return {
        task: cost.parameters
        for network, cost in zip(separate.plan.grouping.networks, separate.costs, strict=False)
        for task in network.served
    }


def _expected(matrix: AffinityMatrix | None, network: Network) -> float | None:
    if matrix is None or not network.trained <= set(matrix.tasks):
        return None
    onto = [
        matrix.between(source, target)
        for target in network.served
        for source in network.trained - {target}
    ]
    known = [value for value in onto if math.isfinite(value)]
    return float(np.mean(known)) if known else None
