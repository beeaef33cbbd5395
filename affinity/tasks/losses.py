"""Losses that ignore missing labels: a mean over the labelled rows, 0 if there are none.

Axes before the batch index a stack of networks, with one loss per network.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Binary cross-entropy of one logit and a label of 0 or 1.

    Example:
        >>> import torch
        >>> logit, label = torch.zeros(3, 1), torch.tensor([0.0, 1.0, torch.nan])
        >>> round(BinaryCrossEntropy()(logit, label).item(), 4)  # log 2
        0.6931
    """

    def __call__(
        self, prediction: Float[Tensor, "*stack batch 1"], target: Float[Tensor, "*stack batch"]
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        each = functional.binary_cross_entropy_with_logits(
            prediction.squeeze(-1), target.where(labelled, 0), reduction="none"
        )
        return _mean_over(labelled, each)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of one logit per class and the index of the class.

    Example:
        >>> import torch
        >>> logits, label = torch.zeros(2, 4), torch.tensor([3.0, torch.nan])
        >>> round(CrossEntropy()(logits, label).item(), 4)  # log 4
        1.3863
    """

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
        return _mean_over(labelled, each.view(target.shape))


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


def takes_stacks(loss: object) -> bool:
    """Whether a loss is one of these; others are only expected to accept ``[batch output]``.

    Example:
        >>> takes_stacks(SquaredError())
        True
    """
    return type(loss) in (BinaryCrossEntropy, CrossEntropy, SquaredError)


def _mean_over(
    labelled: Bool[Tensor, "*stack batch"], each: Float[Tensor, "*stack batch"]
) -> Float[Tensor, "*stack"]:
    return each.where(labelled, 0).sum(dim=-1) / labelled.sum(dim=-1).clamp(min=1)
