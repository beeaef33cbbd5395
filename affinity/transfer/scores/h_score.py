"""H-score: how far the classes of the target lie apart in the source's features."""

import math
from dataclasses import dataclass

import torch

from .view import View


@dataclass(frozen=True)
class HScore:
    r"""Variance of the features between classes, measured by their whole variance.

    .. math::
        \mathrm{tr}\big(\mathrm{cov}(F)^{+} \, \mathrm{cov}(\mathrm{E}[F \mid y])\big)

    0 says that all classes have the same mean, the number of classes less one that they are told
    apart without error. Features that never vary are left out. With as many features as rows it
    tends to its maximum for any labels. NaN for numbers.

    References:
        Bao et al. (2019), `An Information-Theoretic Approach to Transferability in Task Transfer
        Learning <https://arxiv.org/abs/2212.10082>`_, definition 2.

    Example:
        >>> features = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
        >>> round(HScore()(View(features, torch.tensor([0.0, 0.0, 1.0, 1.0]), 2)), 6)
        1.0
    """

    def __call__(self, view: View) -> float:
        """The score of a source for a target."""
        if view.n_classes is None or len(view.labels) < 2:
            return math.nan
        centred = view.features.double() - view.features.double().mean(dim=0)
        between = torch.zeros_like(centred)
        for label in view.labels.unique():
            own = view.labels == label
            between[own] = centred[own].mean(dim=0)
        whole = centred.T @ centred
        inverse = torch.linalg.pinv(whole, rtol=1e-9, hermitian=True)
        return float((inverse * (between.T @ between)).sum())
