"""Metrics over labelled rows; NaN where a metric is undefined.

The values equal scikit-learn's. They are computed here because every training needs them, and
scikit-learn takes longer for one value than a small network takes to train.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .losses import VectorError


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

    def __call__(
        self,
        prediction: Float[Tensor, "row 1"],
        target: Float[Tensor, " row"],
        weight: Float[Tensor, " row"] | None = None,
    ) -> float:
        """Area under the curve, NaN where only one class is present or a score is NaN."""
        labelled = ~target.isnan()
        is_positive = target[labelled] > 0.5
        score = prediction[labelled].squeeze(-1)
        n_positive = int(is_positive.sum())
        n_pairs = n_positive * (len(score) - n_positive)
        if n_pairs == 0 or bool(score.isnan().any()):
            return math.nan
        if weight is not None:
            return _weighted_auc(score, is_positive, weight[labelled].double())
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
        self,
        prediction: Float[Tensor, "row classes"],
        target: Float[Tensor, " row"],
        weight: Float[Tensor, " row"] | None = None,
    ) -> float:
        """Accuracy, NaN where no row is labelled."""
        labelled = ~target.isnan()
        is_right = (prediction[labelled].argmax(dim=-1) == target[labelled]).double()
        return float(_mean(is_right, weight, labelled))


@dataclass(frozen=True)
class RSquared:
    """Fraction of variance explained. 1: perfect, 0: as good as the mean, below 0: worse.

    Example:
        >>> import torch
        >>> RSquared()(torch.tensor([[1.0], [1.0]]), torch.tensor([0.0, 2.0]))
        0.0
    """

    def __call__(
        self,
        prediction: Float[Tensor, "row 1"],
        target: Float[Tensor, " row"],
        weight: Float[Tensor, " row"] | None = None,
    ) -> float:
        """Coefficient of determination, NaN where the labels do not vary."""
        labelled = ~target.isnan()
        truth = target[labelled].double()
        if len(truth) < 2 or bool(torch.all(truth == truth[0])):
            return math.nan
        error = prediction[labelled].squeeze(-1).double() - truth
        spread = truth - _mean(truth, weight, labelled)
        return float(
            1 - _mean(error.square(), weight, labelled) / _mean(spread.square(), weight, labelled)
        )


@dataclass(frozen=True, eq=False)
class VectorRSquared:
    """Fraction of variance explained, averaged over the components of `VectorError`'s labels.

    Example:
        >>> metric = VectorRSquared(VectorError(torch.tensor([[0.0, 2.0], [1.0, 1.0]])))
        >>> metric(torch.tensor([[0.0, 1.5], [1.0, 1.5]]), torch.tensor([0.0, 1.0]))  # 1 and 0
        0.5
    """

    loss: VectorError

    def __call__(
        self,
        prediction: Float[Tensor, "row component"],
        target: Float[Tensor, " row"],
        weight: Float[Tensor, " row"] | None = None,
    ) -> float:
        """The mean coefficient of determination, NaN where it is undefined for a component."""
        labels = self.loss.of(target).double().where(~target.isnan()[:, None], math.nan)
        values = [
            RSquared()(prediction[:, [number]], labels[:, number], weight)
            for number in range(labels.shape[1])
        ]
        return sum(values) / len(values)


def _mean(values: Tensor, weight: Tensor | None, labelled: Tensor) -> Tensor:
    """Mean over the labelled rows, weighted where there are weights."""
    if weight is None:
        return values.mean()
    weight = weight[labelled].double()
    return (weight * values).sum() / weight.sum()


def _weighted_auc(score: Tensor, is_positive: Tensor, weight: Tensor) -> float:
    """The weight of the pairs that are ranked correctly, of all pairs; a tie counts one half."""
    _, place = score.unique(return_inverse=True)
    positive, negative = (
        torch.zeros(int(place.max()) + 1).to(weight).index_add(0, place, weight * part)
        for part in (is_positive, ~is_positive)
    )
    below = negative.cumsum(0) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def concordance_index(
    times: Float[np.ndarray, " row"],
    risks: Float[np.ndarray, " row"],
    sample_weight: Float[np.ndarray, " row"] | None = None,
) -> float:
    """Fraction of comparable pairs in which the row with the earlier event has the larger risk.

    0.5: chance, 1: perfect; NaN if no pair is comparable. Two rows are comparable if the event of
    one is known to be the first. Equal risks count one half. With weights, a pair counts as the
    product of its weights.

    Args:
        times: Time of the event; minus the time until which it had not happened (censored).
        risks: A larger risk predicts an earlier event.

    References:
        Harrell et al. (1982), `Evaluating the Yield of Medical Tests
        <https://doi.org/10.1001/jama.1982.03320430047030>`_.

    Example:
        >>> concordance_index(np.array([1.0, -2.0, 3.0]), np.array([0.9, 0.2, 0.5]))
        1.0
    """
    count = len(times)
    order = np.lexsort((times < 0, np.abs(times)))  # events before censored times that are equal
    time, has_event = np.abs(times)[order], times[order] > 0
    weight = np.ones(count) if sample_weight is None else np.asarray(sample_weight, float)[order]
    rank = np.unique(risks, return_inverse=True)[1][order].astype(np.int64)
    # Rows known to have a later event than row i are those from place later[i] on.
    later = np.searchsorted(time, time, side="right")
    n_events = np.concatenate([[0], np.cumsum(has_event)])
    first = np.searchsorted(time, time, side="left")
    later = first + n_events[later] - n_events[first]
    place, rank_of = later[has_event].astype(np.int64), rank[has_event]
    better, comparable = np.zeros(len(place)), np.zeros(len(place))
    size = 1
    while size <= count:  # blocks of rows that double in size, each sorted by risk
        block = np.arange(count) // size
        keys = block * count + rank
        sorting = np.argsort(keys, kind="stable")
        keys, sums = keys[sorting], np.concatenate([[0.0], np.cumsum(weight[sorting])])
        uses = (place // size % 2 == 1) & (place < count)
        start = place[uses] // size * count

        risk = start + rank_of[uses]
        less, equal = (sums[np.searchsorted(keys, risk, side)] for side in ("left", "right"))
        nothing, everything = (sums[np.searchsorted(keys, key)] for key in (start, start + count))
        better[uses] += (less + equal) / 2 - nothing
        comparable[uses] += everything - nothing
        place[uses] += size
        size *= 2
    weight = weight[has_event]
    total = float((weight * comparable).sum())
    return float((weight * better).sum() / total) if total > 0 else math.nan
