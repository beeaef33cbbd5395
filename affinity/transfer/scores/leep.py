"""LEEP: how well the source's predictions, retold as the target's classes, fit the labels."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from .view import View


@dataclass(frozen=True)
class LEEP:
    r"""Mean log-likelihood of the labels under the expected empirical predictor.

    .. math::
        \frac{1}{n} \sum_i \log \sum_z \hat P(y_i \mid z) \, \theta(x_i)_z, \qquad
        \hat P(y \mid z) \propto \sum_{i : y_i = y} \theta(x_i)_z

    At most 0; it is 0 where each class of the source is one of the target, minus the entropy of
    the target's classes where the source tells nothing. NaN for numbers, and for sources without
    classes.

    References:
        Nguyen et al. (2020), `LEEP: A New Measure to Evaluate Transferability of Learned
        Representations <https://arxiv.org/abs/2002.12462>`_, equations 1 and 2.

    Example:
        >>> labels, features = torch.tensor([0.0, 1.0]), torch.zeros(2, 1)
        >>> blind = torch.full((2, 3), 1 / 3)
        >>> round(LEEP()(View(features, labels, 2, blind)), 4)  # - log 2
        -0.6931
    """

    def __call__(self, view: View) -> float:
        """The score of a source for a target."""
        if view.n_classes is None or view.probabilities is None or not len(view.labels):
            return math.nan
        chance = view.probabilities.double()  # row source_class
        is_class = functional.one_hot(view.labels.long(), view.n_classes).double()
        joint = is_class.T @ chance / len(chance)  # class source_class
        given = joint / joint.sum(dim=0).clamp(min=1e-300)
        likelihood = (given[view.labels.long()] * chance).sum(dim=1)
        return float(torch.log(likelihood).mean())
