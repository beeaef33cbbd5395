"""Targets of several numbers: one task whose labels are vectors."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from .metrics import RSquared


@dataclass(frozen=True, eq=False)
class VectorError:
    """Squared error of a vector, averaged over its components.

    Args:
        labels: One row per row of the data; a target is the number of its row here, NaN where the
            label is missing. So one column of targets holds labels of any size.

    Example:
        >>> loss = VectorError(torch.tensor([[0.0, 2.0], [1.0, 1.0]]))
        >>> loss(torch.zeros(2, 2), torch.tensor([0.0, torch.nan])).item()
        2.0
    """

    labels: Float[Tensor, "row component"]

    def __call__(
        self,
        prediction: Float[Tensor, "*stack batch component"],
        target: Float[Tensor, "*stack batch"],
        weight: Tensor | None = None,
    ) -> Float[Tensor, "*stack"]:
        """Mean loss over the labelled rows."""
        labelled = ~target.isnan()
        each = (prediction - self.of(target).to(prediction)).square().mean(dim=-1)
        weight = torch.ones_like(each) if weight is None else weight
        total = weight.where(labelled, 0).sum(dim=-1)
        return (weight * each).where(labelled, 0).sum(dim=-1) / total.where(total > 0, 1)

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
