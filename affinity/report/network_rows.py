"""The networks of the audited plan: tasks, sharing, estimated and measured gain, cost."""

import math
from dataclasses import dataclass

import numpy as np

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix
from affinity.grouping import Network
from affinity.sharing import MERGED, SHARINGS, Cost, SharingSettings
from affinity.tasks.score import GainUnit


@dataclass(frozen=True)
class NetworkRow:
    """One network of the plan."""

    served: tuple[str, ...]
    helpers: tuple[str, ...]  # tasks that it is also trained on
    sharing: str
    settings: SharingSettings  # of the way to share, where not the usual ones
    reason: str
    affinity: float | None  # mean onto its tasks; None if alone
    gain: float  # mean of the tasks served; NaN where undefined
    low: float  # of the 95 % interval; NaN with one replicate
    high: float
    unit: GainUnit = "relative"
    cost: Cost | None = None  # parameters, and multiply-adds per row
    share: float | None = None  # of parameters, relative to those of separate networks

    @property
    def sharing_label(self) -> str:
        """The way of sharing in words, with its settings."""
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        return {**SHARINGS, **MERGED}[self.sharing].label + (f" ({settings})" if settings else "")

    @property
    def is_baseline(self) -> bool:
        """Whether it is a separate network, the baseline itself."""
        return self.sharing == "separate" or (len(self.served) == 1 and not self.helpers)

    @property
    def conclusion(self) -> str:
        """What the interval of the gain shows."""
        if not math.isfinite(self.low):
            return "No interval"
        if self.low > 0:
            return "Better than separate networks"
        if self.high < 0:
            return "Worse than separate networks"
        return "Not distinguishable from separate networks"


def network_rows(audit: Audit) -> list[NetworkRow]:
    """The networks of the audited plan, in its order."""
    column = {task: number for number, task in enumerate(audit.gains.tasks)}
    plan, separate = audit.plan, audit.candidates["separate"]
    costs = audit.candidates["plan"].costs or (None,) * len(plan.grouping.networks)
    separate_parameters = {
        task: cost.parameters
        for network, cost in zip(separate.plan.grouping.networks, separate.costs, strict=False)
        for task in network.served
    }
    rows: list[NetworkRow] = []
    for (network, sharing, settings, reason), cost in zip(plan.parts, costs, strict=True):
        served = sorted(network.served, key=column.__getitem__)
        gains = audit.gains.of(served)
        gain = audit.averaged(gains).estimate_overall()
        low, high = gain.interval()
        if set(served) <= set(audit.too_few_labels):
            low, high = [math.nan], [math.nan]
        share = None
        if cost is not None and separate_parameters:
            share = cost.parameters / sum(separate_parameters[task] for task in served)
        rows.append(
            NetworkRow(
                served=tuple(served),
                helpers=tuple(sorted(network.trained - network.served, key=column.__getitem__)),
                sharing=sharing,
                settings=settings,
                reason=reason,
                affinity=_mean_affinity(audit.matrix, network),
                gain=float(gain.mean[0]),
                low=float(low[0]),
                high=float(high[0]),
                unit=gains.overall_unit,
                cost=cost,
                share=share,
            )
        )
    return rows


def _mean_affinity(matrix: AffinityMatrix | None, network: Network) -> float | None:
    if matrix is None or not network.trained <= set(matrix.tasks):
        return None
    affinities = [
        matrix.between(source, target)
        for target in network.served
        for source in network.trained - {target}
    ]
    known = [value for value in affinities if math.isfinite(value)]
    return float(np.mean(known)) if known else None
