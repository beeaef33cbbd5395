"""Gains: measured improvement over a baseline, replicate by replicate."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import check_names


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
        better = self.higher_is_better or (False,) * len(self.tasks)
        sign = np.where(better, 1.0, -1.0)
        return sign * (self.scores - self.baseline).double().numpy()

    def relative_differences(self) -> Float[np.ndarray, "replicate task"]:
        """Improvement as a share of the mean baseline, a replicate and task."""
        scale = np.abs(self.baseline.double().mean(dim=0).numpy())
        return self.differences() / np.where(scale > 0, scale, np.nan)

    def relative(self) -> dict[str, float]:
        """Mean relative gain of each task."""
        return dict(zip(self.tasks, self.relative_differences().mean(axis=0).tolist(), strict=True))

    def overall(self) -> Float[np.ndarray, " replicate"]:
        """Mean relative gain over the tasks, a replicate."""
        return np.nanmean(self.relative_differences(), axis=1)

    def frame(self, level: float = 0.95) -> pd.DataFrame:
        """One row a task: gain, low and high of its interval, and the same in own units."""
        relative, own = self.relative_differences(), self.differences()
        low, high = interval(relative, level)
        own_low, own_high = interval(own, level)
        return pd.DataFrame(
            {
                "task": self.tasks,
                "gain": relative.mean(axis=0),
                "low": low,
                "high": high,
                "difference": own.mean(axis=0),
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
