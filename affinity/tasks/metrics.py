"""Metrics over labelled rows; NaN where a metric is undefined.

The values equal scikit-learn's. They are computed here because every training needs them, and
scikit-learn takes longer for one value than a small network takes to train.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class RocAuc:
    """Area under the ROC curve of a logit: 0.5: chance, 1: a perfect ranking.

    The fraction of pairs (a row of class 1, a row of class 0) that the scores rank correctly; a
    tie counts one half.

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
        rank = count.cumsum(0) - (count - 1).double() / 2  # equal scores have the same mean rank
        above = rank[place[is_positive]].sum() - n_positive * (n_positive + 1) / 2
        return float(above / n_pairs)


@dataclass(frozen=True)
class Accuracy:
    """Fraction of rows whose largest logit is at their class.

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
    """Fraction of variance explained. 1: perfect, 0: as good as the mean, below 0: worse.

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
