"""Weights of rows: how much each row counts in training and in scores."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.reading import DataNote
from affinity.reading.formats import plain_label
from affinity.words import count

FEW_ROWS = 0.1  # share of the rows that weights should leave


def row_weights(values: pd.Series) -> Float[Tensor, " row"]:
    """The weights in a column, divided by the mean of those above 0."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    is_valid = np.isfinite(numbers) & (numbers >= 0)
    if not is_valid.all():
        row = int(np.flatnonzero(~is_valid)[0])
        raise InputError(
            f"Expected a weight of at least 0 in every row of {values.name!r}, but row {row} holds "
            f"{plain_label(values.iloc[row])!r} ({int((~is_valid).sum())} rows in all). Leave such "
            "rows out, or set their weight to 0.",
            "invalid-weight",
        )
    if not (numbers > 0).any():
        raise InputError(
            f"Expected weights above 0 in {values.name!r}, but all weights are zero.",
            "invalid-weight",
        )
    return torch.from_numpy(numbers / numbers[numbers > 0].mean()).float()


def notes_on_weights(
    column: str | None, weights: Float[Tensor, " row"] | None
) -> Iterator[DataNote]:
    """What the weights do to the amount of data."""
    if column is None or weights is None:
        return
    effective = float(weights.double().sum() ** 2 / weights.double().square().sum())
    n_zero = int((weights == 0).sum())
    yield DataNote(
        "weights",
        f"Rows count by their weight in {column!r}, in training and in all scores: as much as "
        f"{count(round(effective), 'row')} of equal weight."
        + (f" {count(n_zero, 'row')} have weight 0 and do not count." if n_zero else ""),
        "warning" if effective < FEW_ROWS * len(weights) else "note",
        column=column,
        value=effective,
    )
