"""LogME: how probable the target's labels are under a linear model on the source's features."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .view import View


@dataclass(frozen=True)
class LogME:
    r"""Logarithm of the largest evidence of a Bayesian linear regression, a row.

    .. math::
        \frac{1}{n} \max_{\alpha, \beta} \log \int p(y \mid F w, \beta^{-1}) \,
        p(w \mid 0, \alpha^{-1}) \, dw

    Larger is better; it has no unit and compares sources of one target alone. Classes are regressed
    one by one, as 0 or 1, and averaged. Unlike the loss of a fitted head it does not reward
    features that merely are many.

    Args:
        steps: Of the fixed-point iteration at most.

    References:
        You et al. (2021), `LogME: Practical Assessment of Pre-trained Models for Transfer Learning
        <https://arxiv.org/abs/2102.11005>`_, equation 2 and algorithm 1.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
        >>> told = View(features, features @ torch.tensor([1.0, -2.0]), None)
        >>> random = View(features, torch.tensor([1.0, 1.0, -1.0, 1.0]), None)
        >>> LogME()(told) > LogME()(random)
        True
    """

    steps: int = 100

    def __call__(self, view: View) -> float:
        """The score of a source for a target; NaN without rows."""
        if not len(view.labels):
            return math.nan
        targets = view.labels.double()[:, None]
        if view.n_classes is not None:
            targets = functional.one_hot(view.labels.long(), view.n_classes).double()
        left, size, _ = torch.linalg.svd(view.features.double(), full_matrices=False)
        squares = size.square()
        each = [
            self._of_target(left.T @ target, squares, target, view.features.shape[1])
            for target in targets.T
        ]
        return sum(each) / len(each)

    def _of_target(
        self,
        along: Float[Tensor, " direction"],
        squares: Float[Tensor, " direction"],
        target: Float[Tensor, " row"],
        n_features: int,
    ) -> float:
        """With the singular values' squares, and the target along the left singular vectors."""
        n_rows = len(target)
        beside = max(float(target.square().sum() - along.square().sum()), 0.0)  # no feature has it
        alpha, beta = 1.0, 1.0
        for _ in range(self.steps):
            shrunk = alpha / beta + squares
            weights = float((squares * along.square() / shrunk.square()).sum())
            error = beside + float(((alpha / beta / shrunk) * along).square().sum())
            used = float((squares / shrunk).sum())
            before = alpha / beta
            alpha = used / max(weights, 1e-12)
            beta = (n_rows - used) / max(error, 1e-12)
            if abs(alpha / beta - before) <= 1e-9 * before:
                break
        shrunk = alpha / beta + squares
        weights = float((squares * along.square() / shrunk.square()).sum())
        error = beside + float(((alpha / beta / shrunk) * along).square().sum())
        determinant = float((alpha + beta * squares).log().sum())
        determinant += (n_features - len(squares)) * math.log(alpha)
        evidence = (
            n_features * math.log(alpha)
            + n_rows * math.log(beta)
            - n_rows * math.log(2 * math.pi)
            - beta * error
            - alpha * weights
            - determinant
        )
        return evidence / 2 / n_rows
