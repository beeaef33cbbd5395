"""A diagnosis: why sharing harms, measured by taking one cause after the other away."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from affinity import markup
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest, Verdict, interval

from .causes import CauseResult, Intervention, Rows
from .diagnosis_words import advised, headline, said
from .plain import to_json

LEAST_SHARE = 0.1
"""A cause that accounts for less of the harm than this is not called at work."""
ABOUT = 0.7
"""A change that recovers this share of what the best one recovers does about as well."""

Status = Literal["at work", "undecided", "ruled out", "not tested"]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Why an arrangement does worse than separate networks, and what to do about it.

    Everything is decided on evaluation rows: which tasks are harmed, which changes recover
    something, in which order. The same figures on test rows stand beside them.

    Args:
        problem: The problem's name.
        tasks: Names of the tasks.
        plan: The arrangement.
        harmed: Tasks that it is shown to harm, each by itself.
        evaluation: The harm: its excess over separate networks, as a share of their loss, on
            evaluation rows; below 0 where sharing helps.
        held_out: The same on test rows.
        findings: What was measured of each cause.
        test: How it is decided whether a change recovers something.
        context: Settings, seeds and versions.
        together: Whether it is shown to harm the mean over all tasks, and more clearly than the
            mean over those harmed. Changes are judged on all then, as where no harm is shown.
    """

    problem: str
    tasks: tuple[str, ...]
    plan: Plan
    harmed: tuple[str, ...]
    evaluation: Float[np.ndarray, "replicate task"]
    held_out: Float[np.ndarray, "replicate task"]
    findings: tuple[CauseResult, ...]
    test: NegativeTransferTest = field(default_factory=NegativeTransferTest)
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    together: bool = False

    @property
    def n_replicates(self) -> int:
        """How many replicates were measured."""
        return len(self.evaluation)

    @property
    def concerned(self) -> list[int]:
        """Places of the tasks on which changes are judged."""
        are_all = self.together or not self.harmed
        return [at for at, name in enumerate(self.tasks) if are_all or name in self.harmed]

    @property
    def shows_harm(self) -> bool:
        """Whether any harm is shown, to a task or to all together."""
        return self.together or bool(self.harmed)

    def harm(self, rows: Rows) -> Float[np.ndarray, " replicate"]:
        """Mean over the tasks concerned, a replicate."""
        harm = self.evaluation if rows == "evaluation" else self.held_out
        return np.nanmean(harm[:, self.concerned], axis=1)

    @property
    def is_confirmed(self) -> bool:
        """Whether test rows show some of the harm that evaluation rows do."""
        return not self.shows_harm or float(np.nanmean(self.harm("test"))) > 0

    @property
    def changes(self) -> list[Intervention]:
        """Every change of every finding."""
        return [change for finding in self.findings for change in finding.changes]

    def verdicts(self) -> dict[str, Verdict]:
        """For each change whether it recovers ("beneficial") or worsens, by evaluation rows.

        Adjusted for the number of changes. "neutral" is what is shown to recover less than the
        test's tolerance, or than a tenth of the harm where harm is shown.
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

    def status(self, finding: CauseResult) -> Status:
        """Whether its cause is at work: whether a change that decides recovers enough.

        Enough is a tenth of the harm, where harm is shown.
        """
        deciding = [change for change in finding.changes if change.decides]
        if not deciding:
            return "not tested"
        verdicts = self.verdicts()
        shown = [each for each in deciding if verdicts[each.name].verdict == "beneficial"]
        if any(self._mean(change) >= self._least for change in shown):
            return "at work"
        is_open = any(verdicts[each.name].verdict == "undecided" for each in deciding)
        return "undecided" if is_open else "ruled out"

    def ranked(self) -> list[CauseResult]:
        """The findings: causes at work first, then by what they recover per cost."""
        order: list[Status] = ["at work", "undecided", "ruled out", "not tested"]
        return sorted(
            self.findings,
            key=lambda each: (order.index(self.status(each)), -self.recovered_per_cost(each)),
        )

    def recovered(self, change: Intervention, rows: Rows) -> tuple[float, float, float]:
        """What a change recovered, a mean over the tasks concerned, and its 95 % interval."""
        values = change.on(rows, self.concerned)
        low, high = interval(values)
        return float(values.mean()), float(low), float(high)

    def recovered_per_cost(self, finding: CauseResult) -> float:
        """Of its best remedy; of a cause that leaves some harm, no more than that."""
        remedy = self.remedy(finding)
        if remedy is None:
            return -math.inf
        most = [self._mean(change) for change in finding.changes if change.decides]
        return min(self._mean(remedy), max(most, default=math.inf)) / remedy.cost

    def remedy(self, finding: CauseResult) -> Intervention | None:
        """The change to make: the cheapest that recovers about as much as the best one does.

        Of those that are shown to recover something, where there are any.
        """
        remedies = [change for change in finding.changes if change.is_remedy]
        return self._cheapest(self._shown(remedies) or remedies)

    @property
    def cause(self) -> str | None:
        """The cause at work whose cure costs least; None where no harm, or no cause, is shown."""
        first = next(iter(self.ranked()), None)
        is_shown = first is not None and self.status(first) == "at work"
        if not self.shows_harm or not self.is_confirmed or first is None or not is_shown:
            return None
        return first.cause

    @property
    def advice(self) -> list[str]:
        """What to do, with what it recovered: a line for each cause at work, in their order.

        And a last one where something else is the cheapest way to recover about as much as can be,
        whatever the cause. None where test rows do not confirm the harm.
        """
        if not self.is_confirmed:
            return []
        ranked = [each for each in self.ranked() if self.status(each) == "at work"]
        remedies = [remedy for each in ranked if (remedy := self.remedy(each)) is not None]
        lines = [advised(self, remedy) for remedy in remedies]
        every = self._shown([change for change in self.changes if change.is_remedy])
        cheapest = self._cheapest(every)
        if self.shows_harm and cheapest is not None and cheapest not in remedies:
            lines.append(f"Whatever the cause: {advised(self, cheapest)}")
        return lines

    def headline(self) -> str:
        """What was found, in a sentence."""
        return headline(self)

    def frame(self) -> pd.DataFrame:
        """One row a change: what it recovered, with intervals, and what it costs."""
        verdicts = self.verdicts()
        rows: list[dict[str, Any]] = []
        for finding in self.ranked():
            for change in finding.changes:
                mean, low, high = self.recovered(change, "evaluation")
                test_mean, test_low, test_high = self.recovered(change, "test")
                rows.append(
                    {
                        "cause": finding.cause,
                        "change": change.name,
                        "verdict": said(change, verdicts[change.name]),
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

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; what is undefined is None."""
        from .diagnosis_facts import facts_of

        return facts_of(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as JSON; also written to `path`, if one is given."""
        return to_json(self.to_dict(), path)

    def _repr_html_(self) -> str:
        """For notebooks: a row a change."""
        rows = [
            [
                row["cause"],
                row["change"],
                row["verdict"],
                f"{row['test_recovered']:+.1%}",
                f"{row['cost']:.1f}",
            ]
            for row in self.frame().to_dict("records")
        ]
        return markup.table(
            ["cause", "change", "verdict", "recovered, test rows", "cost"],
            rows,
            self.headline(),
        )

    def _shown(self, changes: Sequence[Intervention]) -> list[Intervention]:
        """Those that are shown to recover something."""
        verdicts = self.verdicts()
        return [each for each in changes if verdicts[each.name].verdict == "beneficial"]

    def _cheapest(self, changes: Sequence[Intervention]) -> Intervention | None:
        """The cheapest that recovers about as much as the best one does."""
        most = max((self._mean(each) for each in changes), default=0.0)
        enough = [each for each in changes if self._mean(each) >= min(most, ABOUT * most)]
        return min(enough, key=lambda each: each.cost, default=None)

    @property
    def _least(self) -> float:
        """What a change has to recover to be worth naming."""
        return LEAST_SHARE * float(np.nanmean(self.harm("evaluation"))) if self.shows_harm else 0.0

    def _mean(self, change: Intervention) -> float:
        return float(np.nanmean(change.on("evaluation", self.concerned)))
