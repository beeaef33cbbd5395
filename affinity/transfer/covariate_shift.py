"""Covariate shift: held-out rows at one end of the inputs, which the target is not trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, check_number
from affinity.tasks import Examples, Replicate

RowPosition = Callable[[Tensor], Tensor]  # one number per row: the largest are shifted

LEAST_ROWS = 4


@dataclass(frozen=True, eq=False)
class ShiftedSplit:
    """A replicate without its shifted rows, and the test rows that are shifted.

    Args:
        in_distribution: The replicate with rows like those that the target is trained on.
        shifted: Test rows from elsewhere.
    """

    in_distribution: Replicate
    shifted: Examples


def hold_out_shifted(
    replicate: Replicate, share: float = 0.25, position: RowPosition | None = None
) -> ShiftedSplit:
    """Hold out rows at one end of the inputs: by default, of their first principal component.

    The threshold is a quantile of the training rows and applies to all parts. Labels are not used.

    Args:
        replicate: The rows.
        share: Fraction of the training rows beyond the threshold.
        position: Another order of the rows, such as a date, or the blur of an image.

    Raises:
        InputError: If the share is not between 0 and 1, or too few rows are left on one side.

    Example:
        >>> rows = Examples(torch.arange(8.0)[:, None], torch.zeros(8, 1))
        >>> split = hold_out_shifted(Replicate(0, rows, rows, rows), share=0.5)
        >>> split.in_distribution.training.inputs.flatten().tolist()
        [0.0, 1.0, 2.0, 3.0]
        >>> split.shifted.inputs.flatten().tolist()
        [4.0, 5.0, 6.0, 7.0]
    """
    check_number("the share of shifted rows", share, "invalid-fraction", above=0, below=1)
    position = position or _first_component(replicate.training.inputs)
    threshold = torch.quantile(position(replicate.training.inputs).double(), 1 - share)

    def below(part: Examples) -> Examples:
        return part.take((position(part.inputs).double() <= threshold).nonzero().squeeze(1))

    is_shifted = position(replicate.test.inputs).double() > threshold
    shifted = replicate.test.take(is_shifted.nonzero().squeeze(1))
    evaluation = replicate.evaluation
    in_distribution = replace(
        replicate,
        training=below(replicate.training),
        validation=below(replicate.validation),
        test=below(replicate.test),
        evaluation=None if evaluation is None else below(evaluation),
    )
    sizes = {
        "training": len(in_distribution.training),
        "validation": len(in_distribution.validation),
        "test": len(in_distribution.test),
        "shifted test": len(shifted),
    }
    if too_small := {name: size for name, size in sizes.items() if size < LEAST_ROWS}:
        raise InputError(
            f"Expected at least {LEAST_ROWS} rows on both sides of the shift, but got {too_small}. "
            f"Choose a share of shifted rows other than {share}.",
            "too-few-rows",
        )
    return ShiftedSplit(in_distribution, shifted)


def _first_component(inputs: Float[Tensor, "row *feature"]) -> RowPosition:
    """The first principal component of standardized rows; its largest loading is positive."""
    flat = inputs.flatten(1).double()
    mean, deviation = flat.mean(dim=0), flat.std(dim=0, unbiased=False)
    deviation = deviation.where(deviation > 0, 1.0)
    standardized = (flat - mean) / deviation
    _, vectors = torch.linalg.eigh(standardized.T @ standardized)  # in ascending order
    direction = vectors[:, -1]
    direction = direction * direction[direction.abs().argmax()].sign()

    def position(rows: Tensor) -> Tensor:
        return ((rows.flatten(1).double() - mean) / deviation) @ direction

    return position
