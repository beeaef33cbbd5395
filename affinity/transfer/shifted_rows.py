"""Shifted rows: one end of the inputs, which a target does not learn from but is judged on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Examples, Replicate

Place = Callable[[Tensor], Tensor]
"""Inputs to a number a row; those with the largest numbers are shifted."""

LEAST_ROWS = 4


@dataclass(frozen=True, eq=False)
class Shifted:
    """A replicate without its shifted rows, and those of its test rows that are shifted.

    Args:
        familiar: The replicate of rows like those that the target learns from.
        shifted: Test rows unlike them.
    """

    familiar: Replicate
    shifted: Examples


def hold_out_shifted(
    replicate: Replicate, share: float = 0.25, place: Place | None = None
) -> Shifted:
    """Hold out rows at one end of the inputs: by default, along their first principal component.

    The limit is that quantile of the training rows, for rows of all parts. Labels are not looked
    at.

    Args:
        replicate: Rows to divide.
        share: Of the training rows, beyond the limit.
        place: Another order of rows, such as a date, or how blurred an image is.

    Raises:
        InputError: If the share is not between 0 and 1, or too few rows are left on one side.

    Example:
        >>> rows = Examples(torch.arange(8.0)[:, None], torch.zeros(8, 1))
        >>> found = hold_out_shifted(Replicate(0, rows, rows, rows), share=0.5)
        >>> found.familiar.training.inputs.flatten().tolist()
        [0.0, 1.0, 2.0, 3.0]
        >>> found.shifted.inputs.flatten().tolist()
        [4.0, 5.0, 6.0, 7.0]
    """
    if not 0 < share < 1:
        raise InputError(f"Expected a share of shifted rows between 0 and 1, but got {share}.")
    place = place or _first_component(replicate.training.inputs)
    limit = torch.quantile(place(replicate.training.inputs).double(), 1 - share)

    def near(part: Examples) -> Examples:
        return part.take((place(part.inputs).double() <= limit).nonzero().squeeze(1))

    is_far = place(replicate.test.inputs).double() > limit
    shifted = replicate.test.take(is_far.nonzero().squeeze(1))
    evaluation = replicate.evaluation
    familiar = replace(
        replicate,
        training=near(replicate.training),
        validation=near(replicate.validation),
        test=near(replicate.test),
        evaluation=None if evaluation is None else near(evaluation),
    )
    sizes = {
        "training": len(familiar.training),
        "validation": len(familiar.validation),
        "test": len(familiar.test),
        "shifted test": len(shifted),
    }
    if few := {name: size for name, size in sizes.items() if size < LEAST_ROWS}:
        raise InputError(
            f"Expected at least {LEAST_ROWS} rows on either side of a shift, but these are too "
            f"few: {few}. Another share of shifted rows than {share} may do."
        )
    return Shifted(familiar, shifted)


def _first_component(inputs: Float[Tensor, "row *feature"]) -> Place:
    """Along the direction in which standardized rows differ most; its largest entry points up."""
    flat = inputs.flatten(1).double()
    mean, deviation = flat.mean(dim=0), flat.std(dim=0, unbiased=False)
    deviation = deviation.where(deviation > 0, 1.0)
    standard = (flat - mean) / deviation
    _, vectors = torch.linalg.eigh(standard.T @ standard)  # from the smallest on
    direction = vectors[:, -1]
    direction = direction * direction[direction.abs().argmax()].sign()

    def place(rows: Tensor) -> Tensor:
        return ((rows.flatten(1).double() - mean) / deviation) @ direction

    return place
