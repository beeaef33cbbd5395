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

from .ratio import Ratio
from .two_level import averaged, estimate


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
                f"{tuple(self.baseline.shape)}.",
                "wrong-shape",
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
        return self.estimate().linear()

    def block_differences(self) -> Float[np.ndarray, "replicate task block"] | None:
        """Improvement on each block in the score's own units."""
        if self.score_blocks is None or self.baseline_blocks is None:
            return None
        differences = self.score_blocks.double() - self.baseline_blocks.double()
        return self._sign[:, None] * differences.numpy()

    def estimate(self) -> Ratio:
        """The relative gain of each task, with its error over replicates and test rows."""
        level = self.baseline.double().mean(dim=0).numpy()
        level = np.where(level == 0, np.nan, level)
        blocks = self.block_differences()
        known = None if blocks is None else self.baseline_blocks
        return Ratio(
            self.differences() / np.abs(level),
            self.baseline.double().numpy() / level,
            None if blocks is None else blocks / np.abs(level)[:, None],
            None if known is None else known.double().numpy() / level[:, None],
        )

    def estimate_overall(self) -> Ratio:
        """The mean relative gain over the tasks that have one, as a ratio of one entry.

        How tasks differ in their gains is taken as it was found; what is tested is their mean.
        """
        found = self.estimate()
        known = np.isfinite(found.mean)
        mean = found.mean[known].mean() if known.any() else np.nan
        unlike = found.mean - mean

        def averages(values: np.ndarray) -> np.ndarray:
            return values[:, known].mean(axis=1) if known.any() else values[:, 0] * np.nan

        differences = averages(found.differences - unlike * found.baseline)
        baseline = averages(found.baseline)
        if found.difference_blocks is None or found.baseline_blocks is None:
            return Ratio(differences[:, None], baseline[:, None])
        blocks = found.difference_blocks - unlike[:, None] * found.baseline_blocks
        return Ratio(
            differences[:, None],
            baseline[:, None],
            averaged(differences, blocks),
            averaged(baseline, found.baseline_blocks),
        )

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
        return self.of_replicates(range(n_replicates))

    def of_replicates(self, replicates: Sequence[int]) -> "Gains":
        """The gains of some of the replicates."""
        parts = ("scores", "baseline", "score_blocks", "baseline_blocks")
        return replace(
            self,
            **{
                name: value[list(replicates)]
                for name in parts
                if (value := getattr(self, name)) is not None
            },
        )

    def relative(self) -> dict[str, float]:
        """Mean relative gain of each task."""
        return dict(zip(self.tasks, self.estimate().mean.tolist(), strict=True))

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
        return self.estimate_overall().linear()[:, 0]

    @property
    def _sign(self) -> Float[np.ndarray, " task"]:
        better = self.higher_is_better or (False,) * len(self.tasks)
        return np.where(better, 1.0, -1.0)

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
