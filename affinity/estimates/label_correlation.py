"""Label correlation: a free baseline that looks at the targets alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.problems import Problem

from .matrix import AffinityMatrix

FEWEST_ROWS = 10


@dataclass(frozen=True)
class LabelCorrelation:
    r"""Absolute correlation of two tasks' labels, over development rows labelled for both.

    .. math:: A_{ij} = |\operatorname{corr}(y_i, y_j)|

    Pearson's correlation of ranks. More than two classes are compared by the best of their
    one-against-rest labels. 1: one label determines the other; 0: no linear relation. NaN with
    fewer than ten such rows. Symmetric; a baseline for estimates that need a training.

    Example:
        >>> from affinity.problems import load_digits
        >>> matrix = LabelCorrelation()(load_digits())
        >>> round(matrix.between("odd", "at least 5"), 1)  # 3 of the digits from 5, 2 of the others
        0.2
    """

    def __call__(self, problem: Problem) -> AffinityMatrix:
        """The matrix of label correlations."""
        columns = [
            _one_hot(problem.development.targets[:, position], task.n_outputs)
            for position, task in enumerate(problem.tasks)
        ]
        count = len(columns)
        values = torch.full((count, count), torch.nan, dtype=torch.double)
        for source in range(count):
            for target in range(source, count):
                correlation = _correlation(columns[source], columns[target])
                values[source, target] = values[target, source] = correlation
        return AffinityMatrix(problem.names, values, estimator=repr(self))


def _one_hot(target: Tensor, n_outputs: int) -> Float[Tensor, "row column"]:
    if n_outputs == 1:
        return target[:, None].double()
    classes = torch.arange(n_outputs)
    return torch.where(target.isnan()[:, None], torch.nan, (target[:, None] == classes).double())


def _correlation(source: Tensor, target: Tensor) -> float:
    both = ~(source[:, 0].isnan() | target[:, 0].isnan())
    if int(both.sum()) < FEWEST_ROWS:
        return float("nan")
    ranks = [_centred_ranks(side[both]) for side in (source, target)]
    norms = [side.norm(dim=0) for side in ranks]
    products = (ranks[0].T @ ranks[1]) / (norms[0][:, None] * norms[1][None, :])
    return products.nan_to_num().abs().max().item()


def _centred_ranks(values: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """Centred ranks; equal values get the mean of their ranks."""
    ranks: list[Tensor] = []
    for column in values.T:
        _, group, counts = column.unique(return_inverse=True, return_counts=True)
        ends = counts.cumsum(0).double()
        ranks.append((ends - (counts - 1) / 2)[group])
    stacked = torch.stack(ranks, dim=1)
    return stacked - stacked.mean(dim=0)
