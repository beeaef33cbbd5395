"""Test rows: the rows of a table that are held out for the audit."""

import shlex

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.reading.formats import names_of, plain_label
from affinity.reading.source import check_column
from affinity.tasks import Examples

from .features import days_since_1970
from .resampling import RandomRows

TEST_NAMES = {"test", "testing", "holdout", "held-out", "heldout"}
VALIDATION = {"validation", "valid", "val", "dev"}
DEVELOPMENT_NAMES = VALIDATION | {"train", "training", "development"}


def set_aside(
    table: pd.DataFrame,
    targets: Tensor,
    time_column: str | None,
    split_column: str | None,
    share: float,
    seed: int,
    groups: Int[Tensor, " row"] | None = None,
) -> Bool[Tensor, " row"]:
    """Select test rows by the split column, by time, or at random within every class.

    Random test rows are those of whole groups, if there are any. A split column or the time may
    divide a group: `without_divided_groups` deals with that.
    """
    is_test = torch.zeros(len(table), dtype=torch.bool)
    if split_column is not None:
        parts = part_names_of(table[split_column])
        unknown = sorted(set(parts) - TEST_NAMES - DEVELOPMENT_NAMES)
        if unknown or not set(parts) & TEST_NAMES or not set(parts) & DEVELOPMENT_NAMES:
            raise InputError(
                f"Expected the split column {split_column!r} to say train, validation or test in "
                f"every row, with some of train and test, but found {sorted(set(parts))[:6]}.",
                "invalid-split",
            )
        return torch.from_numpy(parts.isin(TEST_NAMES).to_numpy().copy())
    if time_column is not None:
        order = in_order_of_time(table, time_column)
        is_test[torch.from_numpy(order[round(len(order) * (1 - share)) :].copy())] = True
        return is_test
    rows = Examples(torch.zeros(len(table), 0), targets, groups)
    is_test[RandomRows(share, evaluation_share=0.0)(rows, seed).validation] = True
    return is_test


def part_names_of(column: pd.Series) -> pd.Series:
    """What a split column calls each row."""
    return names_of(column).fillna("").str.strip().str.lower()


def without_divided_groups(
    is_test: Bool[Tensor, " row"], groups: Int[Tensor, " row"]
) -> Bool[Tensor, " row"]:
    """Whether a row may be a development row: no test row is of its group."""
    is_known = ~torch.isin(groups, groups[is_test])
    if not bool(is_known.any()):
        raise InputError(
            "Expected groups without test rows to train on, but every group has test rows: the "
            "split by --time-column or --split-column divides all of them. Leave out "
            "--group-column, or choose test rows of other groups.",
            "all-groups-divided",
        )
    return is_known


def group_numbers(values: pd.Series) -> Int[Tensor, " row"]:
    """The group of each row, as a number; a row without a value is a group of its own."""
    numbers = pd.factorize(values)[0]
    is_missing = numbers < 0
    numbers[is_missing] = numbers.max(initial=-1) + 1 + np.arange(int(is_missing.sum()))
    return torch.from_numpy(numbers)


def first_rows(table: pd.DataFrame, time_column: str, share: float) -> pd.DataFrame:
    """The first rows by time, up to this share, in the order of the table."""
    check_column(time_column, table.columns)
    order = in_order_of_time(table, time_column)
    return table.iloc[np.sort(order[: round(len(table) * share)])].reset_index(drop=True)


def times_of(table: pd.DataFrame, name: str) -> pd.Series:
    """The time of each row: the column's number, or its date in days since 1970."""
    column = table[name]
    is_date = pd.api.types.is_datetime64_any_dtype(column)
    times = column if is_date else pd.to_numeric(column, errors="coerce").astype(float)
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise InputError(
            f"Expected a number or a date in every row of the time column {name!r}, but row {row} "
            f"holds {plain_label(column.iloc[row])!r}."
            + (
                f" If it is a date, say how: --date-format {shlex.quote(f'{name}=%Y-%m-%d')}."
                if isinstance(column.iloc[row], str)
                else ""
            ),
            "invalid-time",
        )
    if not is_date:
        return times
    return days_since_1970(times)


def in_order_of_time(table: pd.DataFrame, name: str) -> Int[np.ndarray, " row"]:
    """Row numbers, the earliest first."""
    return np.argsort(times_of(table, name).to_numpy(), kind="stable")
