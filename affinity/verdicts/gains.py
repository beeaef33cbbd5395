"""Gains: measured improvement over a baseline, replicate by replicate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import check_names

from .two_level import Estimate, averaged, estimate


@dataclass(frozen=True, eq=False)
class Gains:
    r"""Scores of an arrangement beside those of a baseline on the same replicates.

    .. math::
        \text{gain}_j = \pm \frac{\overline{s}_j - \overline{b}_j}{|\overline{b}_j|}

    with the sign that makes up good. 0.1 on a loss says that a tenth of the baseline's loss is
    gone. Differences are paired: replicate by replicate on the same rows, seed and data order.

    Args:
        tasks: Names, in the order of the task axis.
        scores: Of the arrangement that is judged.
        baseline: Of what it is compared with.
        higher_is_better: The direction of each task's score; by default all are losses.
        score_blocks: Scores on blocks of test rows, where they are known; NaN beyond a task's own.
        baseline_blocks: Those of the baseline.

    Raises:
        InputError: If shapes and names do not fit.

    Example:
        >>> import torch
        >>> gains = Gains(
        ...     tasks=("depth",),
        ...     scores=torch.tensor([[0.5], [0.7]]),
        ...     baseline=torch.tensor([[1.0], [1.0]]),
        ... )
        >>> round(gains.relative()["depth"], 6)
        0.4
    """

    tasks: tuple[str, ...]
    scores: Float[Tensor, "replicate task"]
    baseline: Float[Tensor, "replicate task"]
    higher_is_better: tuple[bool, ...] | None = None
    score_blocks: Float[Tensor, "replicate task block"] | None = None
    baseline_blocks: Float[Tensor, "replicate task block"] | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)
        if self.scores.shape != self.baseline.shape or self.scores.shape[1] != len(self.tasks):
            raise InputError(
                f"Expected scores and baseline of one shape [replicate task] for the "
                f"{len(self.tasks)} tasks, but got {tuple(self.scores.shape)} and "
                f"{tuple(self.baseline.shape)}."
            )

    @property
    def n_replicates(self) -> int:
        """How many replicates were measured."""
        return len(self.scores)

    def differences(self) -> Float[np.ndarray, "replicate task"]:
        """Improvement in the score's own units, a replicate and task; above 0 is better."""
        return self._sign * (self.scores - self.baseline).double().numpy()

    def relative_differences(self) -> Float[np.ndarray, "replicate task"]:
        r"""Improvement as a share of the mean baseline, a replicate and task.

        Their mean is the gain :math:`g`, their spread that of a ratio whose baseline varies, too:
        :math:`g + d_r / |\overline{b}| - g\,b_r / \overline{b}`.
        """
        return self._relative(self.differences(), self.baseline.double().numpy())

    def relative_block_differences(self) -> Float[np.ndarray, "replicate task block"] | None:
        """The same on each block of test rows; None where no scores on blocks are known."""
        if self.baseline_blocks is None or (differences := self.block_differences()) is None:
            return None
        return self._relative(differences, self.baseline_blocks.double().numpy())

    def block_differences(self) -> Float[np.ndarray, "replicate task block"] | None:
        """Improvement on each block in the score's own units."""
        if self.score_blocks is None or self.baseline_blocks is None:
            return None
        differences = self.score_blocks.double() - self.baseline_blocks.double()
        return self._sign[:, None] * differences.numpy()

    def estimate(self) -> Estimate:
        """The relative gain of each task, with its error over replicates and test rows."""
        return estimate(self.relative_differences(), self.relative_block_differences())

    def estimate_overall(self) -> Estimate:
        """The mean relative gain over the tasks, as an estimate of one entry."""
        overall, blocks = self.overall(), self.relative_block_differences()
        return estimate(overall[:, None], None if blocks is None else averaged(overall, blocks))

    def of(self, tasks: Sequence[str]) -> "Gains":
        """The gains of some of the tasks."""
        places = [self.tasks.index(task) for task in tasks]
        better = self.higher_is_better
        parts = ("scores", "baseline", "score_blocks", "baseline_blocks")
        return replace(
            self,
            tasks=tuple(tasks),
            higher_is_better=None if better is None else tuple(better[at] for at in places),
            **{
                name: value[:, places]
                for name in parts
                if (value := getattr(self, name)) is not None
            },
        )

    def first(self, n_replicates: int) -> "Gains":
        """The gains of the first replicates."""
        parts = ("scores", "baseline", "score_blocks", "baseline_blocks")
        return replace(
            self,
            **{
                name: value[:n_replicates]
                for name in parts
                if (value := getattr(self, name)) is not None
            },
        )

    def relative(self) -> dict[str, float]:
        """Mean relative gain of each task."""
        return dict(zip(self.tasks, self.relative_differences().mean(axis=0).tolist(), strict=True))

    def joined(self, more: "Gains") -> "Gains":
        """These replicates and more."""
        parts = ("scores", "baseline", "score_blocks", "baseline_blocks")
        return replace(
            self,
            **{
                name: torch.cat([value, getattr(more, name)])
                for name in parts
                if (value := getattr(self, name)) is not None
            },
        )

    def overall(self) -> Float[np.ndarray, " replicate"]:
        """Mean relative gain over the tasks that have one, a replicate; NaN where none has."""
        relative = self.relative_differences()
        known = relative[:, np.isfinite(relative).all(axis=0)]
        return known.mean(axis=1) if known.size else np.full(len(relative), np.nan)

    @property
    def _sign(self) -> Float[np.ndarray, " task"]:
        better = self.higher_is_better or (False,) * len(self.tasks)
        return np.where(better, 1.0, -1.0)

    def _relative(self, differences: np.ndarray, baseline: np.ndarray) -> np.ndarray:
        """Differences ``[replicate task ...]`` as shares, with a mean of the gain."""
        level = self.baseline.double().mean(dim=0).numpy()
        level = np.where(level == 0, np.nan, level)
        gain = self.differences().mean(axis=0) / np.abs(level)
        if differences.ndim == 3:  # replicate task block
            level, gain = level[:, None], gain[:, None]
        return gain + differences / np.abs(level) - gain * baseline / level

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row a task: gain, low and high of its interval, and the same in own units."""
        relative = self.estimate()
        own = estimate(self.differences(), self.block_differences())
        (low, high), (own_low, own_high) = relative.interval(level), own.interval(level)
        return pd.DataFrame(
            {
                "task": self.tasks,
                "gain": relative.mean,
                "low": low,
                "high": high,
                "difference": own.mean,
                "difference_low": own_low,
                "difference_high": own_high,
            }
        )


def interval(
    differences: Float[np.ndarray, "replicate *rest"], level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Student's interval for the mean of paired differences; NaN from a single replicate."""
    n_replicates = len(differences)
    mean = differences.mean(axis=0)
    if n_replicates < 2:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    error = differences.std(axis=0, ddof=1) / np.sqrt(n_replicates)
    reach = stats.t.ppf(0.5 + level / 2, df=n_replicates - 1) * error
    return np.asarray(mean - reach), np.asarray(mean + reach)
