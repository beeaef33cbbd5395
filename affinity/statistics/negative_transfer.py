"""Negative transfer: whether sharing harms a task, at a controlled risk of false alarms."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from affinity.tasks.score import GainUnit

from .gains import Gains
from .ratio import Ratio
from .spending import levels
from .two_level import Estimate, combined

VerdictName = Literal["harmful", "neutral", "beneficial", "undecided"]
Look = tuple[int, float]  # a number of replicates, and its fraction of the planned number
ALL_TASKS = "all tasks"
POWER = 0.8
MOST_REPLICATES = 10_000


@dataclass(frozen=True)
class Verdict:
    """The conclusion from the replicates for one task, or for all together.

    Args:
        verdict: Harmful, neutral, beneficial or undecided.
        gain: Mean gain, in its unit.
        low: Lower end of its 95 % interval; NaN from a single replicate.
        high: Upper end.
        p_value: Probability of a gain or loss at least as large if the true one were 0, adjusted
            for the number of tasks.
        detectable: The smallest true gain or loss that the same number of replicates, with this
            noise, would detect with a probability of 80 %.
        needed: Approximate number of replicates with which an audit would decide with a probability
            of 80 %, if the true gain were the measured one; None if unknown, or if no number would
            be enough because there are too few test rows.
        unit: The unit of gain, interval and tolerance: "relative" to the baseline, a "difference"
            of scores, or "common", where 0.01 is the gain that matters.
        tolerance: Gains smaller than this do not matter.

    Example:
        >>> import torch
        >>> scores, baseline = torch.tensor([[0.8], [0.7], [0.8], [0.7]]), torch.ones(4, 1)
        >>> (verdict,) = NegativeTransferTest()(Gains(("depth",), scores, baseline))
        >>> verdict.verdict, round(verdict.gain, 2), verdict.low > 0
        ('beneficial', 0.25, True)
    """

    task: str
    verdict: VerdictName
    gain: float
    low: float
    high: float
    p_value: float
    detectable: float
    needed: int | None = None
    unit: GainUnit = "relative"
    tolerance: float = 0.01


@dataclass(frozen=True)
class NegativeTransferTest:
    """Test each task's paired differences by Student's t, over replicates and test rows.

    *Neutral* if two one-sided tests show that the gain is within the tolerance; else *harmful* or
    *beneficial* if the adjusted test finds a loss or a gain; else *undecided*. If plan and baseline
    use the same network for a task, every difference is 0: neutral.

    The error of a gain covers other replicates (training rows and seeds) and other test rows of the
    same kind (`two_level.estimate`); without losses on blocks of test rows, only other replicates.
    It does not cover other development rows.

    With interim looks at growing numbers of replicates, each look has its own, stricter level
    (`spending.levels`). Verdicts and intervals are those of the last look, of the same level: the
    interval of a task that is harmful or beneficial excludes 0.

    Args:
        level: 1 minus the risk of a false alarm over all tasks together.
        tolerance: Gains smaller than this do not matter: a fraction of the baseline, a difference
            of scores, or, for a task whose `Score` has a unit, 0.01 is one unit.
        adjust: Over the tasks: ``holm`` bounds the risk of any false alarm, ``fdr`` (Benjamini and
            Hochberg) the expected fraction of false alarms among the alarms, for many tasks.
        looks: The numbers of replicates at the interim looks, with their fractions of the planned
            number; empty for a single look at all of them.

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure; Schuirmann (1987),
        A Comparison of the Two One-Sided Tests Procedure (...) for Bioequivalence; Maurer and
        Bretz (2013), Multiple Testing in Group Sequential Trials Using Graphical Approaches.

    Example:
        >>> import torch
        >>> baseline = torch.ones(6, 2)
        >>> scores = torch.tensor([[0.8, 1.3], [0.7, 1.2]] * 3)
        >>> gains = Gains(tasks=("helped", "harmed"), scores=scores, baseline=baseline)
        >>> [verdict.verdict for verdict in NegativeTransferTest()(gains)]
        ['beneficial', 'harmful']
        >>> NegativeTransferTest().overall(gains).verdict
        'undecided'
    """

    level: float = 0.95
    tolerance: float = 0.01
    adjust: Literal["holm", "fdr"] = "holm"
    looks: tuple[Look, ...] = ()

    def __call__(self, gains: Gains) -> list[Verdict]:
        """One verdict per task."""
        tolerances = gains.tolerances(self.tolerance)
        return self._judge(gains, Gains.estimate, gains.tasks, gains.units, tolerances)

    def overall(self, gains: Gains) -> Verdict:
        """The verdict on the mean gain over all tasks."""
        tolerances = np.array([self.tolerance])
        units = (gains.overall_unit,)
        return self._judge(gains, Gains.estimate_overall, (ALL_TASKS,), units, tolerances)[0]

    def is_decided(self, gains: Gains) -> bool:
        """Whether no verdict is undecided, per task and overall."""
        return all(v.verdict != "undecided" for v in (*self(gains), self.overall(gains)))

    def _judge(
        self,
        gains: Gains,
        of: Callable[[Gains], Ratio],
        names: tuple[str, ...],
        units: tuple[GainUnit, ...],
        tolerances: Float[np.ndarray, " task"],
    ) -> list[Verdict]:
        looks = self.looks or ((gains.n_replicates, 1.0),)
        ratio = of(gains.first(looks[-1][0]))
        estimate = ratio.beyond(0.0)
        shares = tuple(share for _, share in looks)
        named = self._name(estimate, shares, tolerances)
        risk = 2 * levels(shares, (1 - self.level) / 2)[-1]
        low, high = ratio.interval(1 - risk)
        p_values = _adjusted(_two_sided(estimate), self.adjust)
        reach = estimate.critical(risk / len(names) / 2) + estimate.critical(1 - POWER)
        return [
            Verdict(
                task=name,
                verdict=named[position],
                gain=float(estimate.mean[position]),
                low=float(low[position]),
                high=float(high[position]),
                p_value=float(p_values[position]),
                detectable=float((estimate.error * reach)[position]),
                needed=self._needed(estimate, position, len(names), float(tolerances[position])),
                unit=units[position],
                tolerance=float(tolerances[position]),
            )
            for position, name in enumerate(names)
        ]

    def _name(
        self, estimate: Estimate, shares: tuple[float, ...], tolerances: Float[np.ndarray, " task"]
    ) -> list[VerdictName]:
        """The verdicts of one look, at the level that is left for it."""
        risk = 1 - self.level

        def level_of(risk: float) -> float:
            return levels(shares, risk)[-1]

        differs = self._rejected(_two_sided(estimate), lambda part: 2 * level_of(risk * part / 2))
        within = _two_one_sided(estimate, tolerances)
        is_neutral = self._rejected(within, lambda part: level_of(risk * part))
        return [
            "neutral"
            if is_neutral[position]
            else "undecided"
            if not differs[position]
            else "beneficial"
            if estimate.mean[position] > 0
            else "harmful"
            for position in range(len(differs))
        ]

    def _rejected(
        self, p_values: Float[np.ndarray, " task"], level_of: Callable[[float], float]
    ) -> Bool[np.ndarray, " task"]:
        """Which hypotheses are rejected; `level_of` gives the level of a test from its risk."""
        known = np.flatnonzero(np.isfinite(p_values))
        order = known[np.argsort(p_values[known], kind="stable")]
        rejected = np.zeros(len(p_values), dtype=bool)
        if self.adjust == "fdr":
            falls = [
                rank + 1
                for rank, position in enumerate(order)
                if p_values[position] < level_of((rank + 1) / len(order))
            ]
            rejected[order[: max(falls, default=0)]] = True
            return rejected
        for rank, position in enumerate(order):
            if p_values[position] >= level_of(1 / (len(order) - rank)):
                break
            rejected[position] = True
        return rejected

    def _needed(
        self, estimate: Estimate, position: int, n_tasks: int, tolerance: float
    ) -> int | None:
        """The number of replicates needed, from the two variances of the gain."""
        from scipy import special

        gain = abs(float(estimate.mean[position]))
        of_one = float(estimate.of_replicates[position]) * estimate.n_replicates
        if not (math.isfinite(gain) and math.isfinite(of_one)):
            return None
        risk = (1 - self.level) / n_tasks
        of_rows, n_blocks = float(estimate.of_rows[position]), int(estimate.n_blocks[position])
        of_replicates = of_one / _COUNTS
        error = np.sqrt(of_replicates + of_rows)
        share = of_rows / np.maximum(of_replicates + of_rows, 1e-300)

        def critical(tail: float) -> np.ndarray:
            of_blocks = -float(special.stdtrit(max(1, n_blocks - 1), tail))
            return combined(_quantiles(tail), of_blocks, share)

        ways: list[int] = []
        for distance, tail in ((gain, risk / 2), (tolerance - gain, risk)):
            is_enough = distance > (critical(tail) + critical(1 - POWER)) * error
            ways += _COUNTS[is_enough][:1].tolist()
        return min(ways, default=None)


def without_verdict(verdict: Verdict) -> Verdict:
    """The gain alone, where there is too little data for a verdict or an interval."""
    unknown = math.nan
    return replace(
        verdict,
        verdict="undecided",
        low=unknown,
        high=unknown,
        p_value=unknown,
        detectable=unknown,
        needed=None,
    )


_COUNTS = np.unique(np.geomspace(2, MOST_REPLICATES, 300).round().astype(int))


@lru_cache(maxsize=4096)
def _quantiles(tail: float) -> np.ndarray:
    """Student's quantiles for each number of replicates."""
    from scipy import special

    return -special.stdtrit(_COUNTS - 1, tail)


def holm(p_values: Float[np.ndarray, " task"]) -> Float[np.ndarray, " task"]:
    """Adjust p-values so that the risk of any false alarm among them stays below the level.

    SciPy has no Holm adjustment, and statsmodels would be a large dependency for six lines.
    """
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    adjusted = np.full_like(p_values, np.nan)
    stepwise = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepwise))
    return adjusted


def _adjusted(p_values: Float[np.ndarray, " task"], adjust: str) -> Float[np.ndarray, " task"]:
    if adjust == "holm":
        return holm(p_values)
    known = np.isfinite(p_values)
    adjusted = np.full_like(p_values, np.nan)
    if known.any():
        from scipy import stats

        adjusted[known] = stats.false_discovery_control(p_values[known])
    return adjusted


def _two_sided(estimate: Estimate) -> Float[np.ndarray, " task"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(
            estimate.mean == 0, 0 * estimate.error, np.abs(estimate.mean) / estimate.error
        )
    return 2 * estimate.tail(ratio)


def _two_one_sided(
    estimate: Estimate, tolerance: Float[np.ndarray, " task"]
) -> Float[np.ndarray, " task"]:
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (tolerance - np.abs(estimate.mean)) / estimate.error
    return estimate.tail(distance)
