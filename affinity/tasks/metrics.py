"""Metrics over labelled rows, from scikit-learn; NaN where a metric is undefined."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from torch import Tensor


@dataclass(frozen=True)
class RocAuc:
    """Area under the ROC curve of a logit: 0.5 is chance, 1 a perfect order.

    Example:
        >>> import torch
        >>> RocAuc()(torch.tensor([[-1.0], [2.0]]), torch.tensor([0.0, 1.0]))
        1.0
    """

    def __call__(self, prediction: Float[Tensor, "row 1"], target: Float[Tensor, " row"]) -> float:
        """Area under the curve, NaN where only one class is present."""
        labelled = ~target.isnan()
        truth = target[labelled]
        if len(truth.unique()) < 2:
            return math.nan
        score = prediction[labelled].squeeze(-1)
        return float(roc_auc_score(truth.cpu().numpy(), score.cpu().numpy()))


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
        if not bool(labelled.any()):
            return math.nan
        guess = prediction[labelled].argmax(dim=-1)
        return float(accuracy_score(target[labelled].long().cpu().numpy(), guess.cpu().numpy()))


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
        truth = target[labelled]
        if len(truth) < 2 or bool(torch.all(truth == truth[0])):
            return math.nan
        guess = prediction[labelled].squeeze(-1)
        return float(r2_score(truth.cpu().numpy(), guess.cpu().numpy()))
