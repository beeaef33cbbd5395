"""Repeated hold-out: run the whole procedure on several test splits, not only on one."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from affinity.errors import InputError, check_number
from affinity.problems import Problem
from affinity.recommendation import Plan
from affinity.statistics import Estimate, VerdictName
from affinity.storage import write_json

from .audit import Audit
from .evaluated_plan import EvaluatedPlan
from .retrain import retrain
from .summary import SCHEMA_VERSION, finite

Followed = Literal["plan", "advice"]  # whether to follow the plan or the audit's advice
Networks = tuple[tuple[str, ...], ...]  # the tasks of each network of a plan


@dataclass(frozen=True)
class SplitSummary:
    """The result for one test split.

    Args:
        split: Its number, from 1.
        networks: Number of networks of the plan.
        gain: Mean gain of the plan over the tasks.
        low: Lower end of its 95 % interval within this split.
        high: Upper end.
        verdict: Verdict on this gain.
        advice: The candidate that was advised.
        gain_as_advised: Mean gain of that candidate.
        plan: The tasks of each network.
    """

    split: int
    networks: int
    gain: float | None
    low: float | None
    high: float | None
    verdict: VerdictName
    advice: str
    gain_as_advised: float | None
    plan: Networks


@dataclass(frozen=True)
class PlanCount:
    """A chosen plan, and the number of splits on which it was chosen."""

    networks: Networks
    times: int


@dataclass(frozen=True)
class AdviceCount:
    """An advised candidate, and the number of splits on which it was advised."""

    advice: str
    times: int


@dataclass(frozen=True)
class TaskGain:
    """Mean gain of a task over the splits, with its 95 % interval."""

    name: str
    gain: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ProcedureSummary:
    """The gain of the procedure over all splits: the mean over the tasks, and per task."""

    verdict: VerdictName
    gain: float | None
    low: float | None
    high: float | None
    tasks: tuple[TaskGain, ...]


@dataclass(frozen=True)
class HoldoutSummary:
    """A repeated hold-out, as in `test_splits.json`; undefined values are null.

    Args:
        schema_version: Version of this format.
        problem: The problem's name.
        test_share: Share of the rows in each test split.
        splits: One entry per test split.
        plans: Chosen plans, the most frequent first.
        advices: Advised candidates, the most frequent first.
        as_plan: The gain of following the plan.
        as_advice: The gain of following the advice.
    """

    schema_version: int
    problem: str
    test_share: float
    splits: tuple[SplitSummary, ...]
    plans: tuple[PlanCount, ...]
    advices: tuple[AdviceCount, ...]
    as_plan: ProcedureSummary
    as_advice: ProcedureSummary


@dataclass(frozen=True, eq=False)
class RepeatedHoldout:
    r"""Audits of one procedure on several test splits, and its mean gain.

    An audit evaluates one plan on one test split. Here, for each split, a plan is chosen on the
    development rows and evaluated on the test rows: the mean gain is the gain of the *procedure*
    that chooses plans, not of one plan. Splits have rows in common; therefore gains vary less
    between splits than between data sets. With J splits and a share q of test rows

    .. math::
        \widehat{\mathrm{Var}}(\overline{g}) = \left( \frac{1}{J} + \frac{q}{1 - q} \right) s^2(g_j)

    where the second term does not shrink with the number of splits. This is an approximation for
    random splits, and also for time windows: their test rows, too, overlap by at most about q on
    average.

    Args:
        audits: One per split, of the same tasks.
        test_share: Share of the rows in each test split.

    Raises:
        InputError: If there is no audit, the audits have different tasks, or the share is not
            between 0 and 1.

    References:
        Nadeau and Bengio (2003), Inference for the Generalization Error, section 3.
    """

    audits: tuple[Audit, ...]
    test_share: float

    def __post_init__(self) -> None:
        tasks = {tuple(task.name for task in audit.tasks) for audit in self.audits}
        if len(tasks) != 1:
            raise InputError(
                f"Expected audits of the same tasks, one per split, but got {len(self.audits)} "
                f"audits of {sorted(tasks)}.",
                "different-tasks",
            )
        check_number("the test share", self.test_share, "invalid-share", above=0, below=1)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.audits[0].tasks)

    def gains(self, followed: Followed = "plan") -> Float[np.ndarray, "split task"]:
        """The gain of each task over its separate network, on the test rows of each split."""
        return np.array(
            [list(_followed(audit, followed).test.by_task().values()) for audit in self.audits]
        )

    def estimate(self, followed: Followed = "plan") -> Estimate:
        """The mean gain of each task over the splits, with its standard error."""
        return estimate_over_splits(self.gains(followed), self.test_share)

    def overall(self, followed: Followed = "plan") -> Estimate:
        """The mean gain over the tasks, an estimate of one entry."""
        means = [
            audit.averaged(_followed(audit, followed).test).overall().mean()
            for audit in self.audits
        ]
        return estimate_over_splits(np.array(means)[:, None], self.test_share)

    def verdict(self, followed: Followed = "plan") -> VerdictName:
        """The verdict on the mean gain over the tasks, with the audits' tolerance."""
        overall = self.overall(followed)
        (low,), (high,) = overall.interval(0.95)
        if low > 0 or high < 0:
            return "beneficial" if low > 0 else "harmful"
        (low,), (high,) = overall.interval(0.90)  # two one-sided tests at 5 %
        tolerance = self.audits[0].test.tolerance
        return "neutral" if -tolerance < low and high < tolerance else "undecided"

    def plans(self) -> list[PlanCount]:
        """Chosen plans, with their numbers of splits; most frequent first."""
        counts = Counter(_networks(audit) for audit in self.audits)
        return [PlanCount(plan, times) for plan, times in counts.most_common()]

    def advices(self) -> list[AdviceCount]:
        """Advised candidates, with their numbers of splits; most frequent first."""
        counts = Counter(audit.advice for audit in self.audits)
        return [AdviceCount(advice, times) for advice, times in counts.most_common()]

    def splits(self) -> list[SplitSummary]:
        """The plan and the advice on each split, and the mean gains of both."""
        return [
            SplitSummary(
                split=number,
                networks=len(audit.plan.grouping.networks),
                gain=finite((overall := audit.overall).gain),
                low=finite(overall.low),
                high=finite(overall.high),
                verdict=overall.verdict,
                advice=audit.advice,
                gain_as_advised=finite(audit.overall_of(audit.advice).gain),
                plan=_networks(audit),
            )
            for number, audit in enumerate(self.audits, start=1)
        ]

    def frame(self) -> pd.DataFrame:
        """One row per split, with the fields of `SplitSummary` except the plan."""
        return pd.DataFrame([asdict(split) for split in self.splits()]).drop(columns="plan")

    def summary(self) -> HoldoutSummary:
        """The content of `test_splits.json`; undefined numbers are None."""
        return HoldoutSummary(
            schema_version=SCHEMA_VERSION,
            problem=self.audits[0].problem,
            test_share=self.test_share,
            splits=tuple(self.splits()),
            plans=tuple(self.plans()),
            advices=tuple(self.advices()),
            as_plan=self.procedure("plan"),
            as_advice=self.procedure("advice"),
        )

    def procedure(self, followed: Followed) -> ProcedureSummary:
        """The mean gain over the splits with its verdict, for all tasks and per task."""
        overall, tasks = self.overall(followed), self.estimate(followed)
        (low,), (high,) = overall.interval()
        lows, highs = tasks.interval()
        rows = zip(self.tasks, tasks.mean, lows, highs, strict=True)
        return ProcedureSummary(
            verdict=self.verdict(followed),
            gain=finite(overall.mean[0]),
            low=finite(low),
            high=finite(high),
            tasks=tuple(TaskGain(name, *map(finite, numbers)) for name, *numbers in rows),
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """The summary as JSON; also written to `path`, if one is given."""
        return write_json(self.summary(), path)


def estimate_over_splits(gains: Float[np.ndarray, "split entry"], test_share: float) -> Estimate:
    """The mean over test splits, with the error of `RepeatedHoldout`."""
    n_splits, n_entries = gains.shape
    factor = 1 / n_splits + test_share / (1 - test_share)
    spread = gains.var(axis=0, ddof=1) if n_splits > 1 else np.full(n_entries, np.nan)
    zeros = np.zeros(n_entries)
    return Estimate(gains.mean(axis=0), factor * spread, zeros, n_splits, zeros)


def repeat_holdout(
    make: Callable[[int], Problem],
    decide: Callable[[Problem], Plan],
    splits: int = 5,
    replicates: int = 5,
    **settings: Any,
) -> RepeatedHoldout:
    """Choose a plan and audit it on several test splits.

    The cost is one decision and one audit per split.

    Args:
        make: Function from the number of a split to the problem with its test rows.
        decide: Function from a problem to a plan; it may use only the development rows.
        splits: Number of test splits; intervals need at least two.
        **settings: Further arguments of `retrain`.

    Raises:
        InputError: If `splits` is below 1, or an audit cannot be made.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity import TrainingSettings
        >>> def make(split: int) -> Problem:
        ...     problem = load_digits(width=8, draw=split)
        ...     return problem.with_settings(TrainingSettings(epochs=1))
        >>> def decide(problem: Problem) -> Plan:
        ...     return Plan.all_in_one(problem.names)
        >>> repeat_holdout(make, decide, splits=2, replicates=1, baselines=()).gains().shape
        (2, 8)
    """
    check_number("splits", splits, "no-splits", least=1)
    audits: list[Audit] = []
    share = 0.0
    for split in range(splits):
        problem = make(split)
        share = len(problem.test) / (len(problem.development) + len(problem.test))
        audits.append(retrain(decide(problem), problem, replicates, **settings))
    return RepeatedHoldout(tuple(audits), share)


def _followed(audit: Audit, followed: Followed) -> EvaluatedPlan:
    return audit.candidates["plan" if followed == "plan" else audit.advice]


def _networks(audit: Audit) -> Networks:
    return tuple(sorted(tuple(sorted(each.trained)) for each in audit.plan.grouping.networks))
