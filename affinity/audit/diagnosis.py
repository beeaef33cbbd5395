"""A diagnosis: why sharing harms, measured by removing possible causes one at a time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from affinity import markup
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest, Verdict, VerdictName, interval
from affinity.storage import write_json
from affinity.tasks.score import GainUnit
from affinity.words import gain_in_percent

from .causes import CauseResult, Intervention, Split
from .context import AuditContext
from .summary import SCHEMA_VERSION, MeanSummary, finite, summarize_mean

LEAST_SHARE = 0.1  # a cause with a smaller share of the harm is not reported as at work
ABOUT = 0.7  # recovering this share of what the best one recovers is about as good
Status = Literal["at work", "undecided", "ruled out", "not tested"]
STATUSES: tuple[Status, ...] = ("at work", "undecided", "ruled out", "not tested")


@dataclass(frozen=True, eq=False)
class Remedy:
    """What to do, and the cause that it removes; None if it is just the cheapest remedy."""

    cause: str | None
    change: Intervention


@dataclass(frozen=True)
class SplitMeans:
    """A mean on selection rows, which are used for decisions, and on test rows."""

    evaluation: MeanSummary
    test: MeanSummary


@dataclass(frozen=True)
class InterventionSummary:
    """An intervention and what it recovered.

    Args:
        name: What was changed.
        advice: What to do.
        decides: Whether a recovery by this intervention shows that the cause is at work.
        is_remedy: Whether it can be applied in practice; False if it only gives evidence.
        verdict: Whether it recovers something ("beneficial"), on selection rows.
        p_value: Adjusted for the number of interventions.
        recovered: Recovered loss as a share of the separate networks' loss: 0.05 is 5 %.
        recovered_by_task: The same by task, on test rows.
        share_of_harm: Recovered loss as a share of the harm, on selection rows; None without harm.
        parameters: Number of parameters, as a multiple of the plan's.
        passes: Backward passes per step, as a multiple of the plan's.
        cost: Parameters times passes.
    """

    name: str
    advice: str
    decides: bool
    is_remedy: bool
    verdict: VerdictName
    p_value: float | None
    recovered: SplitMeans
    recovered_by_task: Mapping[str, float | None]
    share_of_harm: float | None
    parameters: float
    passes: float
    cost: float


@dataclass(frozen=True)
class CauseSummary:
    """The measurements of one cause.

    Args:
        cause: Its name.
        status: Whether the cause is at work.
        evidence: Observations, in sentences.
        skipped: What could not be measured, and why.
        remedy: The recommended intervention against it.
        changes: Every intervention.
    """

    cause: str
    status: Status
    evidence: tuple[str, ...]
    skipped: tuple[str, ...]
    remedy: str | None
    changes: tuple[InterventionSummary, ...]


@dataclass(frozen=True)
class RemedySummary:
    """The name of a recommended intervention, and the cause that it removes, if it has one."""

    cause: str | None
    change: str


@dataclass(frozen=True)
class DiagnosisSummary:
    """Why sharing harms, as in `diagnosis.json`; undefined values are null.

    Args:
        schema_version: Version of this format.
        problem: The problem's name.
        n_replicates: Number of replicates.
        networks: The networks of the diagnosed plan.
        harmed: Tasks that the plan harms significantly, tested separately.
        together: Whether the plan significantly harms the mean over all tasks.
        harm: Excess loss over separate networks, as a share of their loss.
        cause: The cause at work that is cheapest to remove; None if none is shown.
        remedies: Recommended interventions, in this order.
        causes: Causes at work first, then by recovered loss per unit cost.
        context: How the diagnosis was made.
        unit: The unit of harm and of recovered losses.
    """

    schema_version: int
    problem: str
    n_replicates: int
    networks: tuple[tuple[str, ...], ...]
    harmed: tuple[str, ...]
    together: bool
    harm: SplitMeans
    cause: str | None
    remedies: tuple[RemedySummary, ...]
    causes: tuple[CauseSummary, ...]
    context: AuditContext
    unit: GainUnit = "relative"


@dataclass(frozen=True, eq=False)
class Diagnosis(markup.ShownAsTable):
    """Why a plan does worse than separate networks, and what to do about it.

    All decisions use selection rows: which tasks are harmed, which interventions recover loss, and
    their order. The same values on test rows are reported next to them. `diagnose` makes it, and
    shows an example.

    Args:
        harmed: Tasks that the plan harms significantly, tested separately.
        evaluation_harm: Excess loss of the plan over separate networks, as a share of their loss,
            on selection rows; below 0 if sharing helps.
        test_harm: The same on test rows.
        test: The statistical test of whether an intervention recovers loss.
        together: Whether the plan significantly harms the mean over all tasks, and more clearly
            than the mean over the harmed tasks. Interventions are then evaluated on all tasks, as
            they are if no harm is shown.
        unit: The unit of harm and of recovered losses: "relative" to the separate networks' loss,
            or a "difference" of scores, on the "common" scale where tasks differ.
    """

    problem: str
    tasks: tuple[str, ...]
    plan: Plan
    harmed: tuple[str, ...]
    evaluation_harm: Float[np.ndarray, "replicate task"]
    test_harm: Float[np.ndarray, "replicate task"]
    results: tuple[CauseResult, ...]
    test: NegativeTransferTest = field(default_factory=NegativeTransferTest)
    context: AuditContext = field(default_factory=AuditContext)
    together: bool = False
    unit: GainUnit = "relative"

    @property
    def n_replicates(self) -> int:
        """Number of replicates."""
        return len(self.evaluation_harm)

    @property
    def concerned(self) -> list[int]:
        """Columns of the tasks on which interventions are evaluated."""
        are_all = self.together or not self.harmed
        return [column for column, name in enumerate(self.tasks) if are_all or name in self.harmed]

    @property
    def shows_harm(self) -> bool:
        """Whether harm is shown, for a single task or for the mean over all tasks."""
        return self.together or bool(self.harmed)

    def harm(self, split: Split) -> Float[np.ndarray, " replicate"]:
        """Mean harm over the tasks of `concerned`, per replicate."""
        harm = self.evaluation_harm if split == "evaluation" else self.test_harm
        return np.nanmean(harm[:, self.concerned], axis=1)

    @property
    def is_confirmed(self) -> bool:
        """Whether the harm on selection rows is also seen on test rows."""
        return not self.shows_harm or float(np.nanmean(self.harm("test"))) > 0

    @property
    def changes(self) -> list[Intervention]:
        """Every intervention against every cause."""
        return [change for result in self.results for change in result.changes]

    def verdicts(self) -> dict[str, Verdict]:
        """Per intervention, whether it recovers loss ("beneficial") or not, on selection rows.

        Adjusted for the number of interventions. "neutral": it is shown to recover less than the
        test's tolerance or, if harm is shown, less than a tenth of the harm.
        """
        changes = self.changes
        if not changes:
            return {}
        test = replace(self.test, tolerance=max(self.test.tolerance, self._least))
        recovered = torch.from_numpy(
            np.stack([change.on("evaluation", self.concerned) for change in changes], axis=1)
        )
        names = tuple(change.name for change in changes)
        gains = Gains(names, 1 - recovered, torch.ones_like(recovered))
        return {verdict.task: verdict for verdict in test(gains)}

    def status(self, result: CauseResult) -> Status:
        """Whether the cause is at work: whether a decisive intervention recovers enough.

        If harm is shown, a tenth of it is enough.
        """
        deciding = [change for change in result.changes if change.decides]
        if not deciding:
            return "not tested"
        if any(self._mean(change) >= self._least for change in self._beneficial(deciding)):
            return "at work"
        verdicts = self.verdicts()
        is_open = any(verdicts[change.name].verdict == "undecided" for change in deciding)
        return "undecided" if is_open else "ruled out"

    def ranked(self) -> list[CauseResult]:
        """The results: causes at work first, then by recovered loss per unit cost."""
        return sorted(
            self.results,
            key=lambda result: (
                STATUSES.index(self.status(result)),
                -self.recovered_per_cost(result),
            ),
        )

    def recovered(self, change: Intervention, split: Split) -> tuple[float, float, float]:
        """Mean recovered loss over the tasks of `concerned`, and its 95 % interval."""
        values = change.on(split, self.concerned)
        low, high = interval(values)
        return float(values.mean()), float(low), float(high)

    def recovered_per_cost(self, result: CauseResult) -> float:
        """Loss recovered per unit cost by the cause's remedy.

        At most the loss that the decisive interventions recover.
        """
        remedy = self.remedy(result)
        if remedy is None:
            return -math.inf
        most = [self._mean(change) for change in result.changes if change.decides]
        return min(self._mean(remedy), max(most, default=math.inf)) / remedy.cost

    def remedy(self, result: CauseResult) -> Intervention | None:
        """The recommended intervention: the cheapest that recovers about as much as the best.

        If some interventions are shown to recover loss, only these are considered.
        """
        remedies = [change for change in result.changes if change.is_remedy]
        return self._cheapest(self._beneficial(remedies) or remedies)

    @property
    def cause(self) -> str | None:
        """The cause at work that is cheapest to remove; None if no harm or no cause is shown.

        Overfitting is a cause without harm, too: the plan does worse than with more sharing.
        """
        at_work = [result.cause for result in self.ranked() if self.status(result) == "at work"]
        if not self.shows_harm:
            return "overfitting" if "overfitting" in at_work else None
        return at_work[0] if at_work and self.is_confirmed else None

    @property
    def remedies(self) -> list[Remedy]:
        """Recommended interventions: one per cause at work, in the order of `ranked`.

        A last one, without a cause, is added if another intervention is the cheapest way to recover
        about as much. Empty if test rows do not confirm the harm.
        """
        if not self.is_confirmed:
            return []
        remedies = [
            Remedy(result.cause, change)
            for result in self.ranked()
            if self.status(result) == "at work" and (change := self.remedy(result)) is not None
        ]
        every = self._beneficial([change for change in self.changes if change.is_remedy])
        cheapest = self._cheapest(every)
        is_new = all(cheapest is not remedy.change for remedy in remedies)
        if self.shows_harm and cheapest is not None and is_new:
            remedies.append(Remedy(None, cheapest))
        return remedies

    def frame(self) -> pd.DataFrame:
        """One row per intervention: its recovered loss, with intervals, and its cost."""
        verdicts = self.verdicts()
        rows: list[dict[str, str | float]] = []
        for result in self.ranked():
            for change in result.changes:
                mean, low, high = self.recovered(change, "evaluation")
                test_mean, test_low, test_high = self.recovered(change, "test")
                rows.append(
                    {
                        "cause": result.cause,
                        "change": change.name,
                        "verdict": verdicts[change.name].verdict,
                        "recovered": mean,
                        "low": low,
                        "high": high,
                        "test_recovered": test_mean,
                        "test_low": test_low,
                        "test_high": test_high,
                        "cost": change.cost,
                    }
                )
        return pd.DataFrame(rows)

    def summary(self) -> DiagnosisSummary:
        """The content of `diagnosis.json`; undefined numbers are None."""
        verdicts = self.verdicts()
        return DiagnosisSummary(
            schema_version=SCHEMA_VERSION,
            problem=self.problem,
            n_replicates=self.n_replicates,
            networks=tuple(tuple(sorted(each.trained)) for each in self.plan.grouping.networks),
            harmed=self.harmed,
            together=self.together,
            harm=SplitMeans(
                summarize_mean(self.harm("evaluation")), summarize_mean(self.harm("test"))
            ),
            cause=self.cause,
            remedies=tuple(RemedySummary(each.cause, each.change.name) for each in self.remedies),
            causes=tuple(
                CauseSummary(
                    cause=result.cause,
                    status=self.status(result),
                    evidence=result.evidence,
                    skipped=result.skipped,
                    remedy=None if (remedy := self.remedy(result)) is None else remedy.name,
                    changes=tuple(
                        self._summarize(change, verdicts[change.name]) for change in result.changes
                    ),
                )
                for result in self.ranked()
            ),
            context=self.context,
            unit=self.unit,
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """The summary as JSON; also written to `path`, if one is given."""
        return write_json(self.summary(), path)

    def _summarize(self, change: Intervention, verdict: Verdict) -> InterventionSummary:
        on_evaluation = change.on("evaluation", self.concerned)
        harm = float(np.nanmean(self.harm("evaluation")))
        by_task = map(finite, change.test.mean(axis=0))
        return InterventionSummary(
            name=change.name,
            advice=change.advice,
            decides=change.decides,
            is_remedy=change.is_remedy,
            verdict=verdict.verdict,
            p_value=finite(verdict.p_value),
            recovered=SplitMeans(
                summarize_mean(on_evaluation), summarize_mean(change.on("test", self.concerned))
            ),
            recovered_by_task=dict(zip(self.tasks, by_task, strict=True)),
            share_of_harm=(
                finite(float(np.nanmean(on_evaluation)) / harm) if self.shows_harm else None
            ),
            parameters=change.parameters,
            passes=change.passes,
            cost=change.cost,
        )

    def as_table(self) -> markup.ResultTable:
        """One row per intervention."""
        rows = [
            [
                row["cause"],
                row["change"],
                row["verdict"],
                self._format(row["test_recovered"]),
                f"{row['cost']:.1f}",
            ]
            for row in self.frame().to_dict("records")
        ]
        harm = float(np.nanmean(self.harm("test")))
        return markup.ResultTable(
            ["cause", "change", "verdict", "recovered, test rows", "cost"],
            rows,
            f"{self.problem}: harm by sharing {self._format(harm)}, "
            f"cause: {self.cause or 'not shown'}",
        )

    def _format(self, recovered: float) -> str:
        return gain_in_percent(recovered) if self.unit == "relative" else f"{recovered:+.3g}"

    def _beneficial(self, changes: Sequence[Intervention]) -> list[Intervention]:
        """The interventions that are shown to recover loss."""
        verdicts = self.verdicts()
        return [change for change in changes if verdicts[change.name].verdict == "beneficial"]

    def _cheapest(self, changes: Sequence[Intervention]) -> Intervention | None:
        """The cheapest intervention that recovers about as much as the best one."""
        most = max(map(self._mean, changes), default=0.0)
        enough = [change for change in changes if self._mean(change) >= min(most, ABOUT * most)]
        return min(enough, key=lambda change: change.cost, default=None)

    @property
    def _least(self) -> float:
        """The smallest recovered loss that counts."""
        return LEAST_SHARE * float(np.nanmean(self.harm("evaluation"))) if self.shows_harm else 0.0

    def _mean(self, change: Intervention) -> float:
        return float(np.nanmean(change.on("evaluation", self.concerned)))
