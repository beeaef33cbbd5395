"""Measured gains: the gain of each task in each network over its single-task network."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import TrainingResults

from .matrix import AffinityMatrix


def measured_gains(measured: TrainingResults) -> Float[Tensor, "network replicate task"]:
    r"""Reduction of each task's evaluation loss in each network, relative to training alone.

    .. math::
        G_j(S) = \frac{L_j(\{j\}) - L_j(S)}{|\overline{L}_j(\{j\})|}

    with both losses of one replicate, and the mean over replicates below. 0.1: the loss is a tenth
    lower; below 0, the partners harm the task. 0 for the task alone; NaN where a network does not
    train the task, or either training is missing.

    Raises:
        InputError: If a task was not trained alone.

    Example:
        >>> losses = torch.tensor([[2.0, torch.nan], [torch.nan, 4.0], [1.0, 5.0]])
        >>> networks = (frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"}))
        >>> measured = TrainingResults.from_losses(networks, ("a", "b"), losses[:, None, :])
        >>> measured_gains(measured)[2].tolist()
        [[0.5, -0.25]]
    """
    row_of = {network: row for row, network in enumerate(measured.networks)}
    if missing := [task for task in measured.tasks if frozenset({task}) not in row_of]:
        raise InputError(
            f"Expected every task to be trained alone for comparison, but {missing} were not.",
            "task-not-measured-alone",
        )
    loss = measured.evaluation_loss
    alone = torch.stack(
        [
            loss[row_of[frozenset({task})], :, position]
            for position, task in enumerate(measured.tasks)
        ],
        dim=1,
    )  # replicate task
    return (alone - loss) / alone.nanmean(dim=0).abs()


@dataclass(frozen=True)
class PairwiseGains:
    r"""Measured gain of the target when it is trained with the source, on selection rows.

    .. math::
        A_{ij} = \frac{\overline{L}_j(\{j\}) - \overline{L}_j(\{i, j\})}{|\overline{L}_j(\{j\})|}

    averaged over paired replicates, whose spread gives the standard error. Its mean over the
    partners is the higher-order approximation of a group's gain. It needs one training per
    pair and per task; pairs that were not trained are NaN.

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
