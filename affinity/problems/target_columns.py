"""Targets that are not one column of labels: sets, vectors, and times with an event column."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError
from affinity.reading import TargetKind
from affinity.reading.formats import FALSE, TRUE, plain_label

from .kinds import check_target

MOST_VECTORS = 2**24  # rows whose numbers are exact as 32-bit floats


def join_columns(
    table: pd.DataFrame, kinds: Mapping[str, TargetKind]
) -> tuple[pd.DataFrame, dict[str, Float[np.ndarray, "row component"]]]:
    """Make one column of each vector and each censored time; see `VectorError`, `CensoredDeviance`.

    The column holds numbers of rows for a vector, and signed times for a censored time (missing
    if a part of the label is). The labels of the vectors are returned, too.
    """
    vectors: dict[str, np.ndarray] = {}
    for name, kind in kinds.items():
        if kind.kind == "vector":
            for part in kind.names:
                check_target(part, table[part], "regression")
            if len(table) > MOST_VECTORS:
                raise InputError(
                    f"Expected up to {MOST_VECTORS} rows for the vector target {name!r}, but the "
                    f"table has {len(table)}.",
                    "too-many-rows",
                )
            labels = table[list(kind.names)].to_numpy(dtype=np.float64, na_value=np.nan)
            vectors[name] = labels
            numbers = np.where(np.isnan(labels).any(axis=1), np.nan, np.arange(float(len(table))))
            table = table.assign(**{name: numbers})
        elif kind.kind == "censored":
            table = table.assign(**{name: _signed_times(table, name, kind.names[0])})
    return table, vectors


def _signed_times(table: pd.DataFrame, name: str, event: str) -> pd.Series:
    """Times of events, and minus the times until which no event had happened."""
    check_target(name, table[name], "censored")
    cells, has_happened = table[event], encode_event(table[event])
    is_unknown = cells.notna() & has_happened.isna()
    if is_unknown.any():
        row = cells.index[is_unknown][0]
        raise InputError(
            f"Expected 1 or yes (the event happened), or 0 or no, in the event column {event!r} of "
            f"target {name!r}, but row {row} holds {plain_label(cells[row])!r}. Recode the column.",
            "invalid-event",
        )
    times = table[name].astype(float) * (2 * has_happened - 1)
    if not (times > 0).any():
        raise InputError(
            f"Expected events in the column {event!r} of target {name!r}, but none happened in a "
            "row with a time.",
            "constant-target",
        )
    return times


def encode_event(cells: pd.Series) -> pd.Series:
    """1 where the event has happened, 0 where not, NaN where that is unknown."""
    meaning = {**dict.fromkeys({*FALSE, "0.0"}, 0.0), **dict.fromkeys({*TRUE, "1.0"}, 1.0)}
    return cells.map(
        lambda cell: meaning.get(str(cell).strip().casefold(), np.nan), na_action="ignore"
    ).astype(float)


@dataclass(frozen=True, eq=False)
class VectorLabels:
    """The labels of a vector, standardized by the development rows."""

    scaled: Float[Tensor, "row component"]  # NaN in rows that miss a component
    units: Mapping[str, tuple[float, float]]  # mean and deviation of each component

    @classmethod
    def of(
        cls,
        labels: Float[np.ndarray, "row component"],
        names: Sequence[str],
        development: Int[Tensor, " development"],
    ) -> "VectorLabels":
        """Standardize these labels."""
        known = labels[development.numpy()]
        known = known[~np.isnan(known).any(axis=1)]
        mean, deviation = known.mean(axis=0), known.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        units = zip(names, zip(mean.tolist(), deviation.tolist(), strict=True), strict=True)
        return cls(torch.from_numpy((labels - mean) / deviation).float(), dict(units))


def expand_sets(
    table: pd.DataFrame, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, list[str]], dict[str, list[str]]]:
    """Replace each column of label sets by one column of 0 and 1 per label, ``"column: label"``.

    Labels are separated by ``;``, ``|`` or commas, or cells are lists. An empty text or list is a
    set without labels; a missing cell is a missing label of every task. Also returns the new
    columns of each column, and its labels that too few rows have.
    """
    made: dict[str, list[str]] = {}
    rare: dict[str, list[str]] = {}
    for name in names:
        cells = table[name]
        text = cells[cells.map(lambda cell: isinstance(cell, str))].astype(str)
        marks = {mark: text.str.contains(mark, regex=False).sum() for mark in ";|,"}
        mark = max(marks, key=lambda each: marks[each])
        sets = [_labels(cell, mark) for cell in cells]
        counts = Counter(label for labels in sets for label in labels or ())
        known = sum(labels is not None for labels in sets)
        least = max(2, min(10, known // 20))
        frequent = sorted(label for label, n in counts.items() if least <= n <= known - least)
        if not frequent:
            raise InputError(
                f"Expected sets of labels, such as 'a;b', in the target {name!r}, but none of its "
                f"{len(counts)} labels is in {least} rows and missing in as many.",
                "no-labels",
            )
        columns = {
            f"{name}: {label}": [
                np.nan if labels is None else float(label in labels) for labels in sets
            ]
            for label in frequent
        }
        if twice := sorted(set(columns) & set(table.columns)):
            raise InputError(
                f"Expected no column named {twice[0]!r}: the labels of {name!r} get that name.",
                "duplicate-column",
            )
        table = table.drop(columns=name).assign(**columns)
        made[name] = list(columns)
        rare[name] = sorted(set(counts) - set(frequent))
    return table, made, rare


def _labels(cell: object, mark: str) -> set[str] | None:
    if isinstance(cell, list | tuple | set | np.ndarray):
        return {str(label).strip() for label in cell}
    if not isinstance(cell, str):
        return None if cell is None or cell != cell else {str(cell)}  # NaN differs from itself
    return {label.strip() for label in cell.split(mark)} - {""}
