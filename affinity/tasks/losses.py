"""Losses that ignore missing labels: a mean over the labelled rows, 0 if there are none.

Axes before the batch index a stack of networks, with one loss per network.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class BinaryCrossEntropy:
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

    def __call__(
        self, prediction: Float[Tensor, "*stack batch 1"], target: Float[Tensor, "*stack batch"]
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        each = functional.binary_cross_entropy_with_logits(
            prediction.squeeze(-1), target.where(labelled, 0), reduction="none"
        )
        return _mean_over(labelled, each, _weight_of(target, self.weights))


@dataclass(frozen=True)
class CrossEntropy:
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

    def __call__(
        self,
        prediction: Float[Tensor, "*stack batch classes"],
        target: Float[Tensor, "*stack batch"],
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        each = functional.cross_entropy(
            prediction.flatten(0, -2), target.where(labelled, 0).long().flatten(), reduction="none"
        )
        return _mean_over(labelled, each.view(target.shape), _weight_of(target, self.weights))


@dataclass(frozen=True)
class SquaredError:
    """Squared error of a single output.

    Example:
        >>> import torch
        >>> SquaredError()(torch.zeros(2, 1), torch.tensor([2.0, torch.nan])).item()
        4.0
    """

    def __call__(
        self, prediction: Float[Tensor, "*stack batch 1"], target: Float[Tensor, "*stack batch"]
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        each = (prediction.squeeze(-1) - target.where(labelled, 0)).square()
        return _mean_over(labelled, each)


@dataclass(frozen=True)
class PoissonDeviance:
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

    def __call__(
        self, prediction: Float[Tensor, "*stack batch 1"], target: Float[Tensor, "*stack batch"]
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        counts = target.where(labelled, 0)
        logarithm = prediction.squeeze(-1).clamp(max=30)
        each = 2 * (counts.xlogy(counts) - counts * logarithm - counts + logarithm.exp())
        return _mean_over(labelled, each)


@dataclass(frozen=True)
class SquaredLogError:
    """Squared error of the logarithm of a target above 0, which the network predicts.

    Example:
        >>> import torch
        >>> SquaredLogError()(torch.ones(2, 1), torch.tensor([1.0, torch.nan])).item()
        1.0
    """

    def __call__(
        self, prediction: Float[Tensor, "*stack batch 1"], target: Float[Tensor, "*stack batch"]
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        each = (prediction.squeeze(-1) - target.where(labelled, 1).log()).square()
        return _mean_over(labelled, each)


@dataclass(frozen=True)
class OrdinalCrossEntropy:
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

    def __call__(
        self,
        prediction: Float[Tensor, "*stack batch threshold"],
        target: Float[Tensor, "*stack batch"],
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        levels = torch.arange(prediction.shape[-1], device=prediction.device)
        is_above = (target.where(labelled, 0)[..., None] > levels).to(prediction.dtype)
        each = functional.binary_cross_entropy_with_logits(prediction, is_above, reduction="none")
        return _mean_over(labelled, each.sum(dim=-1))


def takes_stacks(loss: object) -> bool:
    """Whether a loss is one of these; others are only expected to accept ``[batch output]``.

    Example:
        >>> takes_stacks(SquaredError())
        True
    """
    return type(loss) in _STACKABLE


def loss_on_labelled(
    loss: Callable[[Tensor, Tensor], Tensor],
    prediction: Float[Tensor, "batch output"],
    target: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """The loss on the rows with a label, 0 if there are none: a user's loss never meets NaN.

    Example:
        >>> mean_error = lambda prediction, target: (prediction[:, 0] - target).abs().mean()
        >>> loss_on_labelled(mean_error, torch.zeros(2, 1), torch.tensor([3.0, torch.nan])).item()
        3.0
    """
    missing = target.isnan()
    if takes_stacks(loss) or not bool(missing.any()):
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


def balanced(loss: object, targets: Float[Tensor, " row"]) -> object:
    """A cross-entropy in which every class has the same total weight; other losses unchanged.

    The weight of class c of C, with :math:`n_c` of n labels, is :math:`n / (C n_c)`, as that of
    scikit-learn's ``class_weight="balanced"``.

    Example:
        >>> import torch
        >>> balanced(BinaryCrossEntropy(), torch.tensor([0.0, 0.0, 0.0, 1.0])).weights
        (0.6666666865348816, 2.0)
    """
    if not isinstance(loss, BinaryCrossEntropy | CrossEntropy):
        return loss
    counts = targets[~targets.isnan()].long().bincount(minlength=2).clamp(min=1)
    weights = counts.sum() / (len(counts) * counts)
    return replace(loss, weights=tuple(weights.tolist()))


def _weight_of(
    target: Float[Tensor, "*stack batch"], weights: tuple[float, ...] | None
) -> Float[Tensor, "*stack batch"] | None:
    return None if weights is None else target.new_tensor(weights)[target.nan_to_num().long()]


def _mean_over(
    labelled: Bool[Tensor, "*stack batch"],
    each: Float[Tensor, "*stack batch"],
    weight: Float[Tensor, "*stack batch"] | None = None,
) -> Float[Tensor, "*stack"]:
    if weight is None:
        return each.where(labelled, 0).sum(dim=-1) / labelled.sum(dim=-1).clamp(min=1)
    total = weight.where(labelled, 0).sum(dim=-1)
    return (weight * each).where(labelled, 0).sum(dim=-1) / total.where(total > 0, 1)


_STACKABLE = (
    BinaryCrossEntropy,
    CrossEntropy,
    SquaredError,
    PoissonDeviance,
    SquaredLogError,
    OrdinalCrossEntropy,
)
