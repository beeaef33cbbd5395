"""Gains: measured improvement over a baseline, replicate by replicate."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from affinity.errors import check_same
from affinity.tasks import Score, check_names
from affinity.tasks.score import GainUnit, common_unit, weights_of

from .ratio import Ratio
from .two_level import averaged, estimate


@dataclass(frozen=True, eq=False)
class Gains:
    r"""Scores compared with those of a baseline on the same replicates.

    The gain of a task is `Score.gain` of its mean score over its mean baseline: relative to the
    baseline (0.1: a tenth of the baseline's loss is gone) or a difference of scores. Above 0 is
    better. Differences are paired: replicate by replicate on the same rows, seed and data order.

    Args:
        tasks: Names, in the order of the task axis.
        definitions: How the scores of each task are compared; by default all are losses, compared
            relatively.
        score_blocks: Scores on blocks of test rows, if known; NaN beyond the task's last block.
        baseline_blocks: The same for the baseline.

    Raises:
        InputError: If shapes and names do not fit.

    Example:
        >>> import torch
        >>> gains = Gains(
        ...     tasks=("depth",),
        ...     scores=torch.tensor([[0.5], [0.7]]),
        ...     baseline=torch.tensor([[1.0], [1.0]]),
        ... )
        >>> round(gains.by_task()["depth"], 6)
        0.4
    """

    tasks: tuple[str, ...]
    scores: Float[Tensor, "replicate task"]
    baseline: Float[Tensor, "replicate task"]
    definitions: tuple[Score, ...] | None = None
    score_blocks: Float[Tensor, "replicate task block"] | None = None
    baseline_blocks: Float[Tensor, "replicate task block"] | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)
        shape, n_tasks = tuple(self.scores.shape), len(self.tasks)
        check_same("the number of columns of scores", shape[1], n_tasks, "wrong-shape")
        check_same("the shape of the baseline", tuple(self.baseline.shape), shape, "wrong-shape")
        if self.definitions is not None:
            check_same("the number of definitions", len(self.definitions), n_tasks, "wrong-shape")

    @property
    def score_of(self) -> dict[str, Score]:
        """How the scores of each task are compared."""
        definitions = self.definitions or (Score("minimize"),) * len(self.tasks)
        return dict(zip(self.tasks, definitions, strict=True))

    @property
    def units(self) -> tuple[GainUnit, ...]:
        """The unit of each task's gain."""
        return tuple(score.gain_unit for score in self.score_of.values())

    @property
    def overall_unit(self) -> GainUnit:
        """The unit of the overall gain: that of all tasks, or "common" where they differ."""
        return common_unit(self.score_of.values())

    @property
    def n_replicates(self) -> int:
        """The number of replicates."""
        return len(self.scores)

    def differences(self) -> Float[np.ndarray, "replicate task"]:
        """Improvement in the score's own units for each replicate and task; above 0 is better."""
        return self._sign * (self.scores - self.baseline).double().numpy()

    def block_differences(self) -> Float[np.ndarray, "replicate task block"] | None:
        """Improvement on each block in units of the score."""
        if self.score_blocks is None or self.baseline_blocks is None:
            return None
        differences = self.score_blocks.double() - self.baseline_blocks.double()
        return self._sign[:, None] * differences.numpy()

    def estimate(self) -> Ratio:
        """The gain of each task, with its error over replicates and test rows."""
        level = self.baseline.double().mean(dim=0).numpy()
        mean = self.scores.double().mean(dim=0).nan_to_num().numpy()
        scores = self.score_of.values()
        sizes = [score.size(*each) for score, *each in zip(scores, level, mean, strict=True)]
        size = np.array(sizes)
        is_relative = np.array([score.is_relative for score in scores]) & (level != 0)
        level = np.where(is_relative, level, 1.0)

        def normalized(baseline: Tensor) -> np.ndarray:
            """The baseline with a mean of 1; constant where gains are no ratios."""
            values = np.moveaxis(baseline.double().numpy(), 1, -1)
            constant = values * 0.0 + 1.0  # NaN stays NaN
            return np.moveaxis(np.where(is_relative, values, constant) / level, -1, 1)

        blocks, known = self.block_differences(), self.baseline_blocks
        is_loss = is_relative & (self._sign < 0)
        is_loss &= ~((self.scores < 0) | (self.baseline < 0)).any(dim=0).numpy()
        return Ratio(
            self.differences() / size,
            normalized(self.baseline),
            None if blocks is None else blocks / size[:, None],
            None if blocks is None or known is None else normalized(known),
            largest=np.where(is_loss, 1.0, np.inf),  # no loss is below 0
        )

    def estimate_overall(self) -> Ratio:
        """The mean gain over the tasks with a defined gain, as a ratio of one entry.

        Gains are averaged on the common scale of `weights_of`. The test is about the mean over
        these tasks; tasks are not treated as a random sample.
        """
        ratio = self.estimate()
        known = np.isfinite(ratio.mean)
        defined = dict(itertools.compress(self.score_of.items(), known))
        weights = np.full(len(self.tasks), np.nan)
        weights[known] = list(weights_of(defined).values()) if defined else []
        gains = weights * ratio.mean
        mean = gains[known].mean() if known.any() else np.nan
        deviations = gains - mean

        def averages(values: np.ndarray) -> np.ndarray:
            return values[:, known].mean(axis=1) if known.any() else values[:, 0] * np.nan

        differences = averages(weights * ratio.differences - deviations * ratio.baseline)
        baseline = averages(ratio.baseline)
        largest = averages(
            weights * np.atleast_2d(np.inf if ratio.largest is None else ratio.largest)
        )
        if ratio.difference_blocks is None or ratio.baseline_blocks is None:
            return Ratio(differences[:, None], baseline[:, None], largest=largest)
        weighted = weights[:, None] * ratio.difference_blocks
        blocks = weighted - deviations[:, None] * ratio.baseline_blocks
        return Ratio(
            differences[:, None],
            baseline[:, None],
            averaged(differences, blocks),
            averaged(baseline, ratio.baseline_blocks),
            largest,
        )

    def tolerances(self, tolerance: float) -> Float[np.ndarray, " task"]:
        """The tolerance of the overall gain, converted to the unit of each task's gain."""
        return np.array([tolerance / score.scale for score in self.score_of.values()])

    def of(self, tasks: Sequence[str]) -> "Gains":
        """The gains of some of the tasks."""
        columns = [self.tasks.index(task) for task in tasks]
        return self._map(
            lambda _, values: values[:, columns],
            tasks=tuple(tasks),
            definitions=tuple(self.score_of[task] for task in tasks),
        )

    def first(self, n_replicates: int) -> "Gains":
        """The gains of the first replicates."""
        return self.of_replicates(range(n_replicates))

    def of_replicates(self, replicates: Sequence[int]) -> "Gains":
        """The gains of some of the replicates."""
        return self._map(lambda _, values: values[list(replicates)])

    def by_task(self) -> dict[str, float]:
        """The gain of each task, in its unit."""
        return dict(zip(self.tasks, self.estimate().mean.tolist(), strict=True))

    def _map(self, change: Callable[[str, Tensor], Tensor], **fields: object) -> "Gains":
        parts = ("scores", "baseline", "score_blocks", "baseline_blocks")
        values = {name: getattr(self, name) for name in parts}
        changed = {n: change(n, v) for n, v in values.items() if v is not None}
        return replace(self, **changed, **fields)

    def overall(self) -> Float[np.ndarray, " replicate"]:
        """Mean gain per replicate over the tasks with a defined gain; NaN if none is defined."""
        return self.estimate_overall().linear()[:, 0]

    @property
    def _sign(self) -> Float[np.ndarray, " task"]:
        return np.array([score.sign for score in self.score_of.values()])

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row per task: gain, low and high of its interval, and the same in own units."""
        gains = self.estimate()
        differences = estimate(self.differences(), self.block_differences())
        (low, high), (own_low, own_high) = gains.interval(level), differences.interval(level)
        return pd.DataFrame(
            {
                "task": self.tasks,
                "unit": self.units,
                "gain": gains.mean,
                "low": low,
                "high": high,
                "difference": differences.mean,
                "difference_low": own_low,
                "difference_high": own_high,
            }
        )


def spearman(one: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Rank correlation; NaN for fewer than three values, or where all of a side are equal."""
    from scipy import stats

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(stats.spearmanr(one, other).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def interval(
    differences: Float[np.ndarray, "replicate *rest"], level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval for the mean of paired differences; NaN from a single replicate."""
    from scipy import special

    n_replicates = len(differences)
    mean = differences.mean(axis=0)
    if n_replicates < 2:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = differences.std(axis=0, ddof=1) / np.sqrt(n_replicates)
    reach = special.stdtrit(n_replicates - 1, 0.5 + level / 2) * error
    return np.asarray(mean - reach), np.asarray(mean + reach)
