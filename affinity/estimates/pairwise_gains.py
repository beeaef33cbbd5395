"""Pairwise gains: affinity measured by training pairs of tasks (higher-order approximation)."""

from dataclasses import dataclass

import torch

from affinity.problems import TrainingResults

from .matrix import AffinityMatrix
from .measured_gains import measured_gains


@dataclass(frozen=True)
class PairwiseGains:
    r"""What the target gains from being trained with the source, measured on evaluation rows.

    .. math::
        A_{ij} = \frac{\overline{L}_j(\{j\}) - \overline{L}_j(\{i, j\})}{\overline{L}_j(\{j\})}

    averaged over paired replicates, whose spread gives the standard error. Its mean over the
    partners is the higher-order approximation of a group's gain. It costs a training for each
    pair and each task; pairs that were not trained are NaN.

    Raises:
        InputError: If a task was not trained alone, or there are no evaluation losses.

    References:
        Standley et al. (2020), `Which Tasks Should Be Learned Together in Multi-task Learning?
        <https://arxiv.org/abs/1905.07553>`_, section 6.

    Example:
        >>> losses = torch.tensor([[2.0, torch.nan], [torch.nan, 4.0], [1.0, 5.0]])
        >>> networks = (frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"}))
        >>> measured = TrainingResults.from_losses(networks, ("a", "b"), losses[:, None, :])
        >>> matrix = PairwiseGains()(measured)
        >>> matrix.between("b", "a"), matrix.between("a", "b")
        (0.5, -0.25)
    """

    def __call__(self, measured: TrainingResults) -> AffinityMatrix:
        """The matrix of pair gains."""
        gains = measured_gains(measured)  # network replicate task
        row_of = {network: row for row, network in enumerate(measured.networks)}
        count = len(measured.tasks)
        values = torch.full((count, count), torch.nan).to(gains)
        errors = torch.full_like(values, torch.nan)
        values.fill_diagonal_(0.0)
        for source, one in enumerate(measured.tasks):
            for target, other in enumerate(measured.tasks):
                pair = row_of.get(frozenset({one, other}))
                if source == target or pair is None:
                    continue
                gain = gains[pair, :, target]
                gain = gain[gain.isfinite()]
                values[source, target] = gain.mean()
                if len(gain) > 1:
                    errors[source, target] = gain.std() / len(gain) ** 0.5
        return AffinityMatrix(measured.tasks, values, errors, estimator=repr(self))
