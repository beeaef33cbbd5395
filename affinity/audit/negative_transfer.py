"""Negative transfer: whether sharing harms a task, with the risk of a false alarm held down."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from .gains import Gains, interval

VerdictName = Literal["harmful", "neutral", "beneficial", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What the replicates say of one task.

    Args:
        task: The task's name.
        verdict: Harmful, neutral, beneficial or undecided.
        gain: Mean relative gain.
        low: Lower end of its 95 % interval; NaN from a single replicate.
        high: Upper end.
        p_value: Probability of so large a gain or loss if there were none, adjusted for the
            number of tasks.
        detectable: The smallest true gain or loss that as many replicates, as noisy as these,
            would find in four of five audits.
    """

    task: str
    verdict: VerdictName
    gain: float
    low: float
    high: float
    p_value: float
    detectable: float


@dataclass(frozen=True)
class NegativeTransferTest:
    """Judges each task's paired relative gains, by Student's t and Holm's adjustment.

    *Neutral* where two one-sided tests place the gain within the tolerance; else *harmful* or
    *beneficial* where the adjusted test finds a loss or a gain; else *undecided*. Where the two
    arrangements are one and the same network for a task, every difference is 0: neutral.

    The replicates vary training rows and seeds. The test rows stay, so the verdict is about these
    test rows; another draw of them adds its own noise.

    Args:
        level: 1 minus the risk of a false alarm over all tasks together.
        tolerance: Relative gains smaller than this are of no interest.

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure; Schuirmann (1987),
        A Comparison of the Two One-Sided Tests Procedure (...) for Bioequivalence.

    Example:
        >>> import torch
        >>> baseline = torch.ones(6, 2)
        >>> scores = torch.tensor([[0.8, 1.3], [0.7, 1.2]] * 3)
        >>> gains = Gains(tasks=("helped", "harmed"), scores=scores, baseline=baseline)
        >>> [verdict.verdict for verdict in NegativeTransferTest()(gains)]
        ['beneficial', 'harmful']
    """

    level: float = 0.95
    tolerance: float = 0.01

    def __call__(self, gains: Gains) -> list[Verdict]:
        """A verdict a task."""
        differences = gains.relative_differences()  # replicate task
        mean = differences.mean(axis=0)
        low, high = interval(differences, self.level)
        if gains.n_replicates < 2:
            p_values = equivalence = detectable = np.full(len(gains.tasks), np.nan)
        else:
            error = differences.std(axis=0, ddof=1) / np.sqrt(gains.n_replicates)
            p_values = _two_sided(mean, error, gains.n_replicates - 1)
            equivalence = _two_one_sided(mean, error, gains.n_replicates - 1, self.tolerance)
            detectable = _detectable(error, gains.n_replicates - 1, 1 - self.level)
        adjusted = holm(p_values)
        equivalent = holm(equivalence) < 1 - self.level
        return [
            Verdict(
                task=task,
                verdict=_decide(mean[at], adjusted[at], bool(equivalent[at]), 1 - self.level),
                gain=float(mean[at]),
                low=float(low[at]),
                high=float(high[at]),
                p_value=float(adjusted[at]),
                detectable=float(detectable[at]),
            )
            for at, task in enumerate(gains.tasks)
        ]


def holm(p_values: Float[np.ndarray, " task"]) -> Float[np.ndarray, " task"]:
    """Adjust p-values so that the risk of any false alarm among them stays below the level.

    Example:
        >>> holm(np.array([0.01, 0.04])).tolist()
        [0.02, 0.04]
    """
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    adjusted = np.full_like(p_values, np.nan)
    stepwise = p_values[order] * (len(order) - np.arange(len(order)))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepwise))
    return adjusted


def _decide(mean: float, p_value: float, is_equivalent: bool, risk: float) -> VerdictName:
    if is_equivalent:
        return "neutral"
    if p_value < risk:
        return "beneficial" if mean > 0 else "harmful"
    return "undecided"


def _two_sided(mean: np.ndarray, error: np.ndarray, degrees: int) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(mean == 0, 0.0, np.abs(mean) / error)
    return 2 * stats.t.sf(ratio, degrees)


def _two_one_sided(
    mean: np.ndarray, error: np.ndarray, degrees: int, tolerance: float
) -> np.ndarray:
    with np.errstate(divide="ignore"):
        distance = (tolerance - np.abs(mean)) / error
    return stats.t.sf(distance, degrees)


def _detectable(error: np.ndarray, degrees: int, risk: float, power: float = 0.8) -> np.ndarray:
    return (stats.t.ppf(1 - risk / 2, degrees) + stats.t.ppf(power, degrees)) * error
