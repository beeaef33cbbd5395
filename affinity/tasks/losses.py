"""Losses that ignore missing labels: a mean over the labelled rows, 0 if there are none.

Axes before the batch index a stack of networks, with one loss per network. With a weight per row
it is the weighted mean.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


class RowLoss(ABC):
    """A loss of each row, averaged over the labelled rows; it takes stacks of networks."""

    stand_in: ClassVar[float] = 0.0  # in place of a missing label; no effect on the mean

    @abstractmethod
    def of_rows(
        self,
        prediction: Float[Tensor, "*stack batch output"],
        target: Float[Tensor, "*stack batch"],
    ) -> Float[Tensor, "*stack batch"]:
        """The loss of each row."""

    def __call__(
        self,
        prediction: Float[Tensor, "*stack batch output"],
        target: Float[Tensor, "*stack batch"],
        weight: Tensor | None = None,
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows, with a weight per row the weighted mean."""
        labelled = ~target.isnan()
        each = self.of_rows(prediction, target.where(labelled, self.stand_in))
        return _mean_over(labelled, each, weight_in_mean(self, target, weight))


@dataclass(frozen=True)
class BinaryCrossEntropy(RowLoss):
    """Binary cross-entropy of one logit and a label of 0 or 1.

    Args:
        weights: Weight of the rows of class 0 and of class 1, in a weighted mean; equal if None.

    Example:
        >>> import torch
        >>> logit, label = torch.zeros(3, 1), torch.tensor([0.0, 1.0, torch.nan])
        >>> round(BinaryCrossEntropy()(logit, label).item(), 4)  # log 2
        0.6931
    """

    weights: tuple[float, ...] | None = None

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        return functional.binary_cross_entropy_with_logits(
            prediction.squeeze(-1), target, reduction="none"
        )


@dataclass(frozen=True)
class CrossEntropy(RowLoss):
    """Cross-entropy of one logit per class and the index of the class.

    Args:
        weights: Weight of the rows of each class, in a weighted mean; equal if None.

    Example:
        >>> import torch
        >>> logits, label = torch.zeros(2, 4), torch.tensor([3.0, torch.nan])
        >>> round(CrossEntropy()(logits, label).item(), 4)  # log 4
        1.3863
    """

    weights: tuple[float, ...] | None = None

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        each = functional.cross_entropy(
            prediction.flatten(0, -2), target.long().flatten(), reduction="none"
        )
        return each.view(target.shape)


@dataclass(frozen=True)
class SquaredError(RowLoss):
    """Squared error of a single output.

    Example:
        >>> import torch
        >>> SquaredError()(torch.zeros(2, 1), torch.tensor([2.0, torch.nan])).item()
        4.0
    """

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        return (prediction.squeeze(-1) - target).square()


@dataclass(frozen=True)
class PoissonDeviance(RowLoss):
    r"""Deviance of a count and the logarithm of its expected value.

    .. math::
        2 (y \log y - y f - y + e^f)

    0 where the prediction is exact. Dividing counts and expected values by a number divides the
    deviance by it, so scaled counts may be used.

    Example:
        >>> import torch
        >>> PoissonDeviance()(torch.zeros(2, 1), torch.tensor([0.0, torch.nan])).item()
        2.0
    """

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        logarithm = prediction.squeeze(-1).clamp(max=30)
        return 2 * (target.xlogy(target) - target * logarithm - target + logarithm.exp())


@dataclass(frozen=True)
class SquaredLogError(RowLoss):
    """Squared error of the logarithm of a target above 0, which the network predicts.

    Example:
        >>> import torch
        >>> SquaredLogError()(torch.ones(2, 1), torch.tensor([1.0, torch.nan])).item()
        1.0
    """

    stand_in: ClassVar[float] = 1.0

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        return (prediction.squeeze(-1) - target.log()).square()


@dataclass(frozen=True)
class CensoredDeviance(RowLoss):
    r"""Deviance of a time until an event, with a rate that does not change with time.

    The target is the time of the event, or minus the time until which it had not happened
    (censored). The prediction f is the logarithm of the rate of events; with the time t and
    :math:`\mu = t e^f` events expected by then, the loss is

    .. math::
        2 (\mu - 1 - \log \mu) \quad \text{(event)} \qquad \text{or} \qquad
        2 \mu \quad \text{(censored)}

    Twice the negative log-likelihood of exponential times, minus what no prediction can change.
    0 is the best. Dividing all times by a number does not change it.

    References:
        Aitkin and Clayton (1980), `The Fitting of Exponential, Weibull and Extreme Value
        Distributions to Complex Censored Survival Data using GLIM
        <https://doi.org/10.2307/2986301>`_.

    Example:
        >>> import torch
        >>> CensoredDeviance()(torch.zeros(2, 1), torch.tensor([1.0, -3.0])).item()  # 0 and 6
        3.0
    """

    stand_in: ClassVar[float] = 1.0

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        logarithm = target.abs().log() + prediction.squeeze(-1).clamp(max=30)
        return 2 * (logarithm.exp() - (1 + logarithm).where(target > 0, 0))


@dataclass(frozen=True)
class OrdinalCrossEntropy(RowLoss):
    """Cross-entropies of one logit per threshold: is the level above it? Their sum.

    The target is the number of the level, 0 to K - 1; there are K - 1 logits.

    References:
        Frank and Hall (2001), `A Simple Approach to Ordinal Classification
        <https://doi.org/10.1007/3-540-44795-4_13>`_; trained jointly, as in Niu et al. (2016).

    Example:
        >>> import torch
        >>> loss = OrdinalCrossEntropy()(torch.zeros(2, 3), torch.tensor([1.0, torch.nan]))
        >>> round(loss.item(), 4)  # 3 log 2
        2.0794
    """

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        levels = torch.arange(prediction.shape[-1], device=prediction.device)
        is_above = (target[..., None] > levels).to(prediction.dtype)
        each = functional.binary_cross_entropy_with_logits(prediction, is_above, reduction="none")
        return each.sum(dim=-1)


@dataclass(frozen=True, eq=False)
class VectorError(RowLoss):
    """Squared error of a vector, averaged over its components.

    Args:
        labels: One row per row of the data; a target is the number of its row here, NaN where the
            label is missing. So one column of targets holds labels of any size.

    Example:
        >>> import torch
        >>> loss = VectorError(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
        >>> loss(torch.zeros(2, 2), torch.tensor([0.0, torch.nan])).item()
        2.0
    """

    labels: Float[Tensor, "row component"]
    stand_in: ClassVar[float] = math.nan

    def of_rows(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss of each row."""
        return (prediction - self.of(target).to(prediction)).square().mean(dim=-1)

    def of(self, target: Float[Tensor, "*stack batch"]) -> Float[Tensor, "*stack batch component"]:
        """The labels that the targets stand for; 0 where they are missing."""
        labels = self.labels.to(target.device)[target.nan_to_num().long()]
        return labels.where(~target.isnan().unsqueeze(-1), 0)  # NaN would spoil gradients

    @cached_property
    def digest(self) -> str:
        """Of the labels, for the keys of stored trainings."""
        values = self.labels.cpu().contiguous().numpy()
        return hashlib.sha256(values.tobytes()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"VectorError({self.labels.shape[1]} components, digest {self.digest})"


def takes_stacks(loss: object) -> bool:
    """Whether a loss is one of these; others are only expected to accept ``[batch output]``.

    Example:
        >>> takes_stacks(SquaredError())
        True
    """
    return isinstance(loss, RowLoss) and type(loss).__call__ is RowLoss.__call__


def loss_on_labelled(
    loss: Callable[..., Tensor],
    prediction: Float[Tensor, "*stack batch output"],
    target: Float[Tensor, "*stack batch"],
    weight: Float[Tensor, "*stack batch"] | None = None,
) -> Float[Tensor, "*stack"]:
    """The loss on the rows with a label, 0 if there are none: a user's loss never meets NaN.

    Args:
        weight: The weight of each row, which only the losses of this package take.

    Example:
        >>> mean_error = lambda prediction, target: (prediction[:, 0] - target).abs().mean()
        >>> loss_on_labelled(mean_error, torch.zeros(2, 1), torch.tensor([3.0, torch.nan])).item()
        3.0
        >>> rows = torch.zeros(2, 1), torch.tensor([1.0, 2.0])
        >>> loss_on_labelled(SquaredError(), *rows, weight=torch.tensor([3.0, 1.0])).item()
        1.75
    """
    if takes_stacks(loss):
        return loss(prediction, target, weight)
    missing = target.isnan()
    if not bool(missing.any()):
        return loss(prediction, target)
    if bool(missing.all()):
        return 0.0 * prediction.sum()
    return loss(prediction[~missing], target[~missing])


def ignores_missing(loss: Callable[[Tensor, Tensor], Tensor], n_outputs: int) -> bool:
    """Whether a loss can be given NaN as a label, and leaves such rows out.

    Example:
        >>> ignores_missing(SquaredError(), 1)
        True
        >>> ignores_missing(lambda prediction, target: (prediction[:, 0] - target).sum(), 1)
        False
    """
    if takes_stacks(loss):
        return True
    try:
        with_missing = loss(torch.zeros(2, n_outputs), torch.tensor([0.0, torch.nan]))
        without = loss(torch.zeros(1, n_outputs), torch.zeros(1))
    except (RuntimeError, ValueError, TypeError, IndexError):
        return False
    return torch.equal(with_missing, without)


def balanced(
    loss: object, targets: Float[Tensor, " row"], weights: Float[Tensor, " row"] | None = None
) -> object:
    """A cross-entropy in which every class has the same total weight; other losses unchanged.

    The weight of class c of C, with :math:`n_c` of n labels, is :math:`n / (C n_c)`, as that of
    scikit-learn's ``class_weight="balanced"``; with weights of rows, n are sums of these.
    """
    if not isinstance(loss, BinaryCrossEntropy | CrossEntropy):
        return loss
    labelled = ~targets.isnan()
    of_rows = None if weights is None else weights[labelled]
    counts = targets[labelled].long().bincount(of_rows, minlength=2)
    counts = counts.where(counts > 0, 1)
    return replace(loss, weights=tuple((counts.sum() / (len(counts) * counts)).tolist()))


def weight_in_mean(
    loss: object, target: Float[Tensor, "*stack batch"], weight: Tensor | None
) -> Tensor | None:
    """The weight of each row in the mean that the loss is: its own, times that of its class."""
    weights: tuple[float, ...] | None = getattr(loss, "weights", None)
    if weights is None:
        return weight
    of_class = target.new_tensor(weights)[target.nan_to_num().long()]
    return of_class if weight is None else weight * of_class


def _mean_over(
    labelled: Bool[Tensor, "*stack batch"],
    each: Float[Tensor, "*stack batch"],
    weight: Tensor | None,
) -> Float[Tensor, "*stack"]:
    if weight is None:
        return each.where(labelled, 0).sum(dim=-1) / labelled.sum(dim=-1).clamp(min=1)
    total = weight.where(labelled, 0).sum(dim=-1)
    return (weight * each).where(labelled, 0).sum(dim=-1) / total.where(total > 0, 1)
