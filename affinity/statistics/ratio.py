"""Ratio: a gain as mean difference divided by mean baseline, both with measurement error."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from .two_level import Estimate, components

_HALVINGS = 50
_ROUNDS = 6  # fixed-point iterations: the error depends on the end of the interval


@dataclass(frozen=True, eq=False)
class Ratio:
    r"""Relative gains, one per task, with tests and intervals.

    With paired differences :math:`u_r` relative to the mean baseline, and the baseline
    :math:`v_r` scaled to a mean of 1, a gain :math:`g` is rejected where

    .. math::
        \overline{u} - g\,\overline{v}, \qquad \text{with the error of } u_r - g\,v_r,

    differs from 0 by Student's t. At :math:`g = 0` that is the t test of plain differences. The
    interval contains the gains that are not rejected, so it excludes 0 wherever that test finds a
    difference. (A linearized error would be too small where the baseline is uncertain, and
    find more gains than losses.)

    Args:
        differences: Relative to the mean baseline.
        baseline: Scaled to a mean of 1.
        difference_blocks: Differences on blocks of test rows, if known.
        baseline_blocks: Baseline on blocks of test rows, if known.
        largest: The largest possible gains, at which intervals end; unbounded if None.

    References:
        Fieller (1954), Some Problems in Interval Estimation.

    Example:
        >>> found = Ratio(np.array([[0.1], [0.2], [0.3]]), np.array([[0.5], [1.0], [1.5]]))
        >>> [round(float(end[0]), 3) for end in found.interval()]  # the gain is 20 %, always
        [0.2, 0.2]
    """

    differences: Float[np.ndarray, "replicate task"]
    baseline: Float[np.ndarray, "replicate task"]
    difference_blocks: Float[np.ndarray, "replicate task block"] | None = None
    baseline_blocks: Float[np.ndarray, "replicate task block"] | None = None
    largest: Float[np.ndarray, " task"] | None = None

    @cached_property
    def mean(self) -> Float[np.ndarray, " task"]:
        """The gains."""
        return self.differences.mean(axis=0)

    def linear(self) -> Float[np.ndarray, "replicate task"]:
        """The gain of each replicate, linearized at their mean."""
        return self.mean + self.differences - self.mean * self.baseline

    def beyond(self, gain: float | Float[np.ndarray, " task"]) -> Estimate:
        """The estimate minus a hypothetical gain, with its error under that hypothesis."""
        weights = (1.0, -2.0 * gain, np.square(gain))
        of_replicates, of_rows = (
            sum(weight * part for weight, part in zip(weights, parts, strict=True))
            for parts in self._products
        )
        return Estimate(
            mean=self.mean - gain,
            of_replicates=np.maximum(0.0, of_replicates),
            of_rows=np.maximum(0.0, of_rows),
            n_replicates=len(self.differences),
            n_blocks=self._blocks,
        )

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The gains that are not rejected; NaN from a single replicate.

        If the baseline is so uncertain that no gain on one side is rejected, the linearized end is
        used for this side. The interval excludes 0 wherever the test of this level rejects 0.
        """
        with np.errstate(invalid="ignore"):  # an early look may demand infinite certainty
            low, high = self._end(-1.0, level), self._end(1.0, level)
            is_rejected = self._is_rejected(0.0, level)
            if is_rejected.any():
                nearest = self._nearest_to_zero(level)
                low = np.where(is_rejected & (self.mean > 0) & ~(low > 0), nearest, low)
                high = np.where(is_rejected & (self.mean < 0) & ~(high < 0), nearest, high)
        if self.largest is not None:
            high = np.minimum(high, self.largest)
        return np.minimum(low, self.mean), np.maximum(high, self.mean)

    def _is_rejected(
        self, gain: float | Float[np.ndarray, " task"], level: float
    ) -> Bool[np.ndarray, " task"]:
        there = self.beyond(gain)
        return np.abs(there.mean) > there.reach(level)

    def _nearest_to_zero(self, level: float) -> Float[np.ndarray, " task"]:
        """The gain nearest to 0 that is not rejected, if 0 is rejected: by bisection."""
        rejected, kept = np.zeros_like(self.mean), self.mean
        for _ in range(_HALVINGS):
            middle = (rejected + kept) / 2
            beyond = self._is_rejected(middle, level)
            rejected, kept = np.where(beyond, middle, rejected), np.where(beyond, kept, middle)
        return kept

    def _end(self, side: float, level: float) -> Float[np.ndarray, " task"]:
        """A root of Fieller's equation, with the error at this root."""
        tangent = self.mean + side * self.beyond(self.mean).reach(level)
        gain = self.mean
        for _ in range(_ROUNDS):
            there = self.beyond(gain)
            of_differences, of_both, of_baseline = (
                of_replicates + np.where(there.of_rows > 0, of_rows, 0.0)
                for of_replicates, of_rows in zip(*self._products, strict=True)
            )
            t = there.critical((1 - level) / 2) ** 2
            curve, half = 1 - t * of_baseline, self.mean - t * of_both
            under_root = half**2 - curve * (self.mean**2 - t * of_differences)
            is_bounded = curve > 0
            root = np.sqrt(np.maximum(0.0, under_root))
            curve = np.where(is_bounded, curve, 1.0)
            gain = np.where(is_bounded, (half + side * root) / curve, tangent)
        return np.where(np.isnan(tangent), np.nan, gain)

    @cached_property
    def _products(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """For each level: variance of differences, covariance, variance of baseline."""
        both = None
        if self.difference_blocks is not None and self.baseline_blocks is not None:
            both = self.difference_blocks + self.baseline_blocks
        of_differences = components(self.differences, self.difference_blocks)
        of_baseline = components(self.baseline, self.baseline_blocks)
        of_sum = components(self.differences + self.baseline, both)
        replicates, rows = (
            [first, (together - first - second) / 2, second]
            for first, second, together in zip(
                of_differences[:2], of_baseline[:2], of_sum[:2], strict=True
            )
        )
        return replicates, rows

    @cached_property
    def _blocks(self) -> Float[np.ndarray, " task"]:
        return components(self.differences, self.difference_blocks)[2]
