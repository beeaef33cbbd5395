"""Metrics over labelled rows; NaN where a metric is undefined.

Computed here because every training asks for them: scikit-learn, whose values these are, takes
longer for one than a small network takes to train.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class RocAuc:
    """Area under the ROC curve of a logit: 0.5 is chance, 1 a perfect order.

    The share of pairs of a row of class 1 and a row of class 0 whose scores are in order; a tie
    counts half.

    Example:
        >>> import torch
        >>> RocAuc()(torch.tensor([[-1.0], [2.0]]), torch.tensor([0.0, 1.0]))
        1.0
    """

    def __call__(self, prediction: Float[Tensor, "row 1"], target: Float[Tensor, " row"]) -> float:
        """Area under the curve, NaN where only one class is present or a score is NaN."""
        labelled = ~target.isnan()
        is_positive = target[labelled] > 0.5
        score = prediction[labelled].squeeze(-1)
        n_positive = int(is_positive.sum())
        n_pairs = n_positive * (len(score) - n_positive)
        if n_pairs == 0 or bool(score.isnan().any()):
            return math.nan
        _, place, count = score.unique(return_inverse=True, return_counts=True)
        rank = count.cumsum(0) - (count - 1).double() / 2  # equal scores share theirs
        above = rank[place[is_positive]].sum() - n_positive * (n_positive + 1) / 2
        return float(above / n_pairs)


@dataclass(frozen=True)
class Accuracy:
    """Share of rows whose largest logit is their class.

    Example:
        >>> import torch
        >>> Accuracy()(torch.eye(2), torch.tensor([0.0, 0.0]))
        0.5
    """

    def __call__(
        self, prediction: Float[Tensor, "row classes"], target: Float[Tensor, " row"]
    ) -> float:
        """Accuracy, NaN where no row is labelled."""
        labelled = ~target.isnan()
        guess = prediction[labelled].argmax(dim=-1)
        return float((guess == target[labelled]).double().mean())


@dataclass(frozen=True)
class RSquared:
    """Share of the variance explained: 1 is perfect, 0 is the mean, below 0 is worse.

    Example:
        >>> import torch
        >>> RSquared()(torch.tensor([[1.0], [1.0]]), torch.tensor([0.0, 2.0]))
        0.0
    """

    def __call__(self, prediction: Float[Tensor, "row 1"], target: Float[Tensor, " row"]) -> float:
        """Coefficient of determination, NaN where the labels do not vary."""
        labelled = ~target.isnan()
        truth = target[labelled].double()
        if len(truth) < 2 or bool(torch.all(truth == truth[0])):
            return math.nan
        error = prediction[labelled].squeeze(-1).double() - truth
        return float(1 - error.square().sum() / (truth - truth.mean()).square().sum())
