"""Pairwise gains: affinity measured by training pairs of tasks (higher-order approximation)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import Measurements

from .matrix import AffinityMatrix


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
        >>> nothing = torch.full((3, 1, 2), torch.nan)
        >>> losses = torch.tensor([[2.0, torch.nan], [torch.nan, 4.0], [1.0, 5.0]])
        >>> measured = Measurements(
        ...     networks=(frozenset({"a"}), frozenset({"b"}), frozenset({"a", "b"})),
        ...     tasks=("a", "b"),
        ...     test_loss=nothing,
        ...     validation_loss=nothing,
        ...     evaluation_loss=losses[:, None, :],
        ...     test_metric=nothing,
        ...     parameters=(1, 1, 1),
        ...     seconds=torch.zeros(3, 1),
        ... )
        >>> matrix = PairwiseGains()(measured)
        >>> matrix.between("b", "a"), matrix.between("a", "b")
        (0.5, -0.25)
    """

    def __call__(self, measured: Measurements) -> AffinityMatrix:
        """The matrix of pair gains."""
        row_of = {network: row for row, network in enumerate(measured.networks)}
        count = len(measured.tasks)
        alone = [row_of.get(frozenset({task})) for task in measured.tasks]
        if missing := [
            task for task, row in zip(measured.tasks, alone, strict=True) if row is None
        ]:
            raise InputError(
                f"Expected every task to be trained alone, too, to compare with, but {missing} "
                "were not."
            )
        values = measured.evaluation_loss.new_full((count, count), torch.nan)
        errors = torch.full_like(values, torch.nan)
        for target, own in enumerate(alone):
            baseline = measured.evaluation_loss[own, :, target]  # replicate
            values[target, target] = 0.0
            for source in range(count):
                pair = row_of.get(frozenset({measured.tasks[source], measured.tasks[target]}))
                if source == target or pair is None:
                    continue
                gain = _gain(measured.evaluation_loss[pair, :, target], baseline)
                values[source, target] = gain.mean()
                if len(gain) > 1:
                    errors[source, target] = gain.std() / len(gain) ** 0.5
        return AffinityMatrix(measured.tasks, values, errors, estimator=repr(self))


def _gain(
    loss: Float[Tensor, " replicate"], baseline: Float[Tensor, " replicate"]
) -> Float[Tensor, " replicate"]:
    return (baseline - loss) / baseline.mean()
