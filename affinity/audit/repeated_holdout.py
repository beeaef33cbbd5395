"""Outer draws: other test rows set aside and the plan decided anew; one test split is one draw."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.recommendation import Plan
from affinity.statistics import Estimate, VerdictName

from .audit import Audit
from .evaluated_plan import EvaluatedPlan
from .plain import plain, to_json
from .retrain import retrain

SCHEMA_VERSION = 1
Followed = Literal["plan", "advice"]
"""What one does after an audit: train as planned, or as advised."""


@dataclass(frozen=True, eq=False)
class RepeatedHoldout:
    r"""Audits of one procedure on several draws of the test rows, and what it is worth on average.

    An audit judges one plan on one set of test rows. Here every draw sets other rows aside, a plan
    is decided on the others, and judged on these: the mean gain is that of *deciding so*, whichever
    plan comes out. Draws have rows in common, so that gains vary less between them than between
    data sets; with J draws and a share q of test rows

    .. math::
        \widehat{\mathrm{Var}}(\overline{g}) = \left( \frac{1}{J} + \frac{q}{1 - q} \right) s^2(g_j)

    of which the second part, the room that draws leave, no number of draws makes smaller. It is
    an approximation, for windows of time (`affinity.problems.windows`) as for random draws: their
    test rows overlap by at most about q on average, too.

    Args:
        audits: One a draw, of the same tasks.
        test_share: Share of the rows that each sets aside.

    Raises:
        InputError: If there is no audit, they are of other tasks, or the share is none.

    References:
        Nadeau and Bengio (2003), Inference for the Generalization Error, section 3.
    """

    audits: tuple[Audit, ...]
    test_share: float

    def __post_init__(self) -> None:
        tasks = {tuple(task.name for task in audit.tasks) for audit in self.audits}
        if len(tasks) != 1:
            raise InputError(
                f"Expected audits of the same tasks, one a draw, but got {len(self.audits)} audits "
                f"of {sorted(tasks)}."
            )
        if not 0 < self.test_share < 1:
            raise InputError(f"Expected a test share between 0 and 1, but got {self.test_share}.")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.audits[0].tasks)

    def gains(self, followed: Followed = "plan") -> Float[np.ndarray, "draw task"]:
        """The gain of each task over its separate network, on each draw's own test rows."""
        return np.array(
            [list(_followed(audit, followed).test.relative().values()) for audit in self.audits]
        )

    def estimate(self, followed: Followed = "plan") -> Estimate:
        """The mean gain of each task over the draws, with its error."""
        return over_draws(self.gains(followed), self.test_share)

    def overall(self, followed: Followed = "plan") -> Estimate:
        """The mean gain over the tasks, an estimate of one entry."""
        means = [_followed(audit, followed).test.overall().mean() for audit in self.audits]
        return over_draws(np.array(means)[:, None], self.test_share)

    def verdict(self, followed: Followed = "plan") -> VerdictName:
        """Of the mean gain over the tasks, by its 95 % interval and the audits' tolerance."""
        found = self.overall(followed)
        (low,), (high,) = found.interval(0.95)
        if low > 0 or high < 0:
            return "beneficial" if low > 0 else "harmful"
        (low,), (high,) = found.interval(0.90)  # two one-sided tests at 5 %
        tolerance = self.audits[0].test.tolerance
        return "neutral" if -tolerance < low and high < tolerance else "undecided"

    def plans(self) -> list[tuple[list[list[str]], int]]:
        """Networks of each plan that came out, and on how many draws; most frequent first."""
        found = Counter(_networks(audit) for audit in self.audits)
        return [([list(one) for one in plan], times) for plan, times in found.most_common()]

    def advices(self) -> list[tuple[str, int]]:
        """What was advised, and on how many draws; most frequent first."""
        return Counter(audit.advice for audit in self.audits).most_common()

    def frame(self) -> pd.DataFrame:
        """One row a draw: what was planned and advised, and the mean gains that these had."""
        rows: list[dict[str, Any]] = []
        for number, audit in enumerate(self.audits, start=1):
            overall = audit.overall
            rows.append(
                {
                    "draw": number,
                    "networks": len(audit.plan.grouping.networks),
                    "gain": overall.gain,
                    "low": overall.low,
                    "high": overall.high,
                    "verdict": overall.verdict,
                    "advice": audit.advice,
                    "gain_as_advised": audit.overall_of(audit.advice).gain,
                }
            )
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; what is undefined is None."""
        draws = self.frame().to_dict("records")
        for draw, audit in zip(draws, self.audits, strict=True):
            draw["plan"] = [list(one) for one in _networks(audit)]
        return plain(
            {
                "schema_version": SCHEMA_VERSION,
                "problem": self.audits[0].problem,
                "test_share": self.test_share,
                "draws": draws,
                "plans": [{"networks": plan, "times": times} for plan, times in self.plans()],
                "advices": [{"advice": name, "times": times} for name, times in self.advices()],
                **{f"as_{name}": self._facts(name) for name in ("plan", "advice")},
            }
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as JSON; also written to `path`, if one is given."""
        return to_json(self.to_dict(), path)

    def _facts(self, followed: Followed) -> dict[str, Any]:
        overall, tasks = self.overall(followed), self.estimate(followed)
        (low, high), (lows, highs) = overall.interval(), tasks.interval()
        return {
            "verdict": self.verdict(followed),
            "gain": overall.mean[0],
            "low": low[0],
            "high": high[0],
            "tasks": [
                {"name": name, "gain": tasks.mean[at], "low": lows[at], "high": highs[at]}
                for at, name in enumerate(self.tasks)
            ],
        }


def over_draws(gains: Float[np.ndarray, "draw entry"], test_share: float) -> Estimate:
    """The mean over draws of the test rows, with the error of `RepeatedHoldout`.

    Example:
        >>> found = over_draws(np.array([[0.1], [0.2], [0.3]]), test_share=0.25)
        >>> round(float(found.error[0]), 4)  # 0.1 * sqrt(1 / 3 + 1 / 3)
        0.0816
    """
    n_draws, n_entries = gains.shape
    factor = 1 / n_draws + test_share / (1 - test_share)
    spread = gains.var(axis=0, ddof=1) if n_draws > 1 else np.full(n_entries, np.nan)
    none = np.zeros(n_entries)
    return Estimate(gains.mean(axis=0), factor * spread, none, n_draws, none)


def retrain_draws(
    make: Callable[[int], Problem],
    decide: Callable[[Problem], Plan],
    draws: int = 5,
    replicates: int = 5,
    **settings: Any,
) -> RepeatedHoldout:
    """Set test rows aside anew, decide a plan anew, and audit it, draw after draw.

    Costs as much as so many audits and decisions.

    Args:
        make: The number of a draw to the problem with the test rows of this draw.
        decide: From a problem to a plan; it sees the development rows alone.
        draws: How many draws; intervals need at least two.
        replicates: How many in each audit.
        **settings: Of `retrain`.

    Raises:
        InputError: If there is no draw, or an audit cannot be made.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity import TrainingSettings
        >>> def make(draw: int) -> Problem:
        ...     problem = load_digits(width=8, draw=draw)
        ...     return problem.with_settings(TrainingSettings(epochs=1))
        >>> def decide(problem: Problem) -> Plan:
        ...     return Plan.all_in_one(problem.names)
        >>> retrain_draws(make, decide, draws=2, replicates=1, baselines=()).gains().shape
        (2, 8)
    """
    if draws < 1:
        raise InputError(f"Expected at least one draw, but got {draws}.")
    audits: list[Audit] = []
    share = 0.0
    for draw in range(draws):
        problem = make(draw)
        share = len(problem.test) / (len(problem.development) + len(problem.test))
        audits.append(retrain(decide(problem), problem, replicates, **settings))
    return RepeatedHoldout(tuple(audits), share)


def _followed(audit: Audit, followed: Followed) -> EvaluatedPlan:
    return audit.arrangements["plan" if followed == "plan" else audit.advice]


def _networks(audit: Audit) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(sorted(each.trained)) for each in audit.plan.grouping.networks))
