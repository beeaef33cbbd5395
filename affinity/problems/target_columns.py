"""Targets that are not one column of labels: sets, vectors, and times with an event column."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError, check_number
from affinity.reading import DataNote, TargetKind
from affinity.reading.formats import (
    FALSE,
    LIKELY_MISSING,
    SHORTEST_WORD,
    TRUE,
    fold_spaces,
    is_missing_mark,
    plain_label,
)
from affinity.words import shorten

from .kinds import LIST, check_target

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
            rows = f"the number of rows for the vector target {name!r}"
            check_number(rows, len(table), "too-many-rows", most=MOST_VECTORS)
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
) -> tuple[pd.DataFrame, dict[str, list[str]], list[DataNote]]:
    """Replace each column of label sets by one column of 0 and 1 per label, ``"column: label"``.

    Labels are separated by ``;``, ``|`` or commas, or cells are lists, also as text
    (``["a", "b"]``). An empty text or list is a set without labels; a missing cell is a missing
    label of every task. Also returns the new columns of each column, and what was remarkable.
    """
    made: dict[str, list[str]] = {}
    notes: list[DataNote] = []
    for name in names:
        cells = table[name]
        text = cells[cells.map(lambda cell: isinstance(cell, str))].astype(str)
        is_mark = is_missing_mark(fold_spaces(text)) & (text.str.strip() != "")
        cells = cells.astype(object).where(~is_mark.reindex(cells.index, fill_value=False), None)
        marks = {mark: text.str.contains(mark, regex=False).sum() for mark in ";|,"}
        mark = max(marks, key=lambda each: marks[each])
        sets = [_labels(cell, mark) for cell in cells]
        spellings = _spellings(Counter(label for labels in sets for label in labels or ()))
        sets = [None if each is None else {spellings[label] for label in each} for each in sets]
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
        merged = [label for label, spelling in spellings.items() if label != spelling]
        notes += _notes_on_sets(
            name, sorted(set(text[is_mark])), merged, frequent, sorted(set(counts) - set(frequent))
        )
    return table, made, notes


def _labels(cell: object, mark: str) -> set[str] | None:
    if isinstance(cell, list | tuple | set | np.ndarray):
        return {str(label).strip() for label in cell}
    if not isinstance(cell, str):
        return None if cell is None or cell != cell else {str(cell)}  # NaN differs from itself
    if re.fullmatch(LIST, cell):
        inner = cell.strip()[1:-1]
        quoted = re.findall(r"\"([^\"]*)\"|'([^']*)'", inner)
        labels = ["".join(pair) for pair in quoted] or inner.split(",")
    else:
        labels = cell.split(mark)
    return {label.strip() for label in labels} - {""}


def _spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Each label's most frequent spelling; short labels that differ by case are different."""
    usual: dict[str, str] = {}
    for label in sorted(counts, key=lambda each: (-counts[each], each)):
        usual.setdefault(label.casefold(), label)
    return {
        label: usual[label.casefold()] if len(label) >= SHORTEST_WORD else label for label in counts
    }


def _notes_on_sets(
    name: str, missing: list[str], merged: list[str], frequent: list[str], rare: list[str]
) -> Iterator[DataNote]:
    if missing:
        text = f"{shorten(missing)}: read as a missing value, not as a label of {name!r}."
        yield DataNote("missing-marks", text, column=name)
    if merged:
        text = f"Labels of {name!r} that differ only by case were read as one: {shorten(merged)}."
        yield DataNote("spellings", text, column=name)
    if likely := [label for label in frequent if label.casefold() in LIKELY_MISSING]:
        text = (
            f"The label {likely[0]!r} of {name!r} may mean a missing value; if it does, use "
            f"--missing {shlex.quote(f'{name}={likely[0]}')}."
        )
        yield DataNote("likely-missing", text, "warning", column=name)
    if rare:
        text = f"Labels of {name!r} that too few rows have (or lack) are no tasks: {shorten(rare)}."
        yield DataNote("rare-labels", text, column=name)
