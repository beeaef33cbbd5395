"""The kind of a target: inferred from its values, or chosen."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CrossEntropy,
    NamedMetric,
    OrdinalCrossEntropy,
    PoissonDeviance,
    RocAuc,
    RSquared,
    SquaredError,
    SquaredLogError,
    Task,
)

from .formats import TRUE

Kind = Literal["binary", "classes", "regression", "count", "log", "ordinal", "set"]
"""log: a regression of the logarithm; ordinal: classes in the order of their numbers; set: labels
in one cell, one binary task per label."""
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_CLASSES = 10
"""Numbers with more distinct values than this are a regression."""
NUMBERS: tuple[Kind, ...] = ("regression", "count", "log", "ordinal")
"""Kinds whose labels are numbers."""
MOST_LEVELS = 30
FEW_CLASSES = 10
"""More classes than this must have two rows each on average."""


def find_kind(values: pd.Series) -> Kind:
    """Kind of a target from its labelled values.

    Two values are binary; strings, or at most ten different whole numbers, are classes;
    everything else is a regression.

    Example:
        >>> find_kind(pd.Series(["yes", "no", None])), find_kind(pd.Series([0.5, 1.5, 2.25]))
        ('binary', 'regression')
    """
    labels = values.dropna()
    distinct = labels.nunique()
    if distinct == 2:
        return "binary"
    if not pd.api.types.is_numeric_dtype(labels):
        return "classes"
    whole = bool((labels.astype(float) % 1 == 0).all())
    return "classes" if whole and distinct <= MOST_CLASSES else "regression"


def check_target(name: str, values: pd.Series, kind: Kind) -> None:
    """Check that a target can be learned.

    Raises:
        InputError: If no row is labelled, a label is infinite, or the labels do not vary or do not
            fit the kind.
    """
    labels = values.dropna()
    if labels.empty:
        raise InputError(
            f"Expected labels in the target {name!r}, but all of them are missing.", "no-labels"
        )
    if pd.api.types.is_numeric_dtype(labels):
        infinite = np.isinf(labels.astype(float))
        if infinite.any():
            raise InputError(
                f"Expected finite labels in the target {name!r}, but {int(infinite.sum())} are "
                f"infinite, the first in row {labels.index[infinite][0]}. Leave their cells empty: "
                "an empty cell is a missing label.",
                "infinite-labels",
            )
    distinct = labels.nunique()
    if distinct == 1:
        raise InputError(
            f"Expected the target {name!r} to vary, but all its {len(labels)} labels are "
            f"{labels.tolist()[0]!r}. Leave it out.",
            "constant-target",
        )
    if kind == "binary" and distinct != 2:
        raise InputError(
            f"Expected two values in the binary target {name!r}, but found {distinct}: "
            f"{sorted(map(str, labels.unique()))[:5]}.",
            "target-does-not-fit-kind",
        )
    if kind in NUMBERS and not pd.api.types.is_numeric_dtype(labels):
        example = next(
            value
            for value, number in zip(labels, pd.to_numeric(labels, errors="coerce"), strict=True)
            if np.isnan(number)
        )
        raise InputError(
            f"Expected numbers in the {kind} target {name!r}, but found {example!r}.",
            "target-does-not-fit-kind",
        )
    if kind in ("count", "log"):
        numbers = labels.astype(float)
        bad = numbers[numbers < 0] if kind == "count" else numbers[numbers <= 0]
        if len(bad):
            least = "counts of at least 0" if kind == "count" else "numbers above 0"
            raise InputError(
                f"Expected {least} in the target {name!r}, but row {bad.index[0]} holds "
                f"{bad.iloc[0]:g}. Use --kind {name}=regression.",
                "target-does-not-fit-kind",
            )
    if kind == "ordinal" and distinct > MOST_LEVELS:
        raise InputError(
            f"Expected up to {MOST_LEVELS} levels in the ordinal target {name!r}, but found "
            f"{distinct}. Use --kind {name}=regression.",
            "target-does-not-fit-kind",
        )
    if kind == "classes" and distinct > FEW_CLASSES and 2 * distinct > len(labels):
        raise InputError(
            f"Expected classes with several rows each in the target {name!r}, but its "
            f"{len(labels)} labels have {distinct} different values, such as "
            f"{labels.iloc[0]!r}. If they are numbers, mend the column and use "
            f"--kind {name}=regression; an identifier or free text cannot be predicted.",
            "too-many-classes",
        )
    if kind == "classes" and distinct > 1000:
        raise InputError(
            f"Expected up to 1000 classes in the target {name!r}, but found {distinct}. "
            f"Use --kind {name}=regression, or leave it out.",
            "target-does-not-fit-kind",
        )


def classes_of(values: pd.Series, kind: Kind) -> list[object] | None:
    """The classes of a target in the order of their numbers 0, 1, ...; None for numbers."""
    if kind in ("regression", "count", "log"):
        return None
    return sorted(map(_plain, values.dropna().unique().tolist()), key=_order)


def encode_target(values: pd.Series, classes: list[object] | None) -> np.ndarray:
    """Labels as floats: the number of the class, or the number itself; NaN where missing."""
    if classes is None:
        return pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = {value: float(number) for number, value in enumerate(classes)}
    return values.map(numbers).to_numpy(dtype=np.float64, na_value=np.nan)


def task_of(name: str, kind: Kind, classes: list[object] | None) -> Task:
    """A task with the loss and the metric of its kind."""
    if kind == "binary":
        return Task(name, BinaryCrossEntropy(), RocAuc())
    if kind == "classes":
        return Task(name, CrossEntropy(), Accuracy(), n_outputs=len(classes or ()))
    if kind == "ordinal":
        metric = NamedMetric("quadratic_kappa", "ordinal")
        return Task(name, OrdinalCrossEntropy(), metric, n_outputs=len(classes or ()) - 1)
    if kind == "count":
        return Task(name, PoissonDeviance(), NamedMetric("d2_poisson", "positive"))
    if kind == "log":
        return Task(name, SquaredLogError(), NamedMetric("r2", "positive"))
    return Task(name, SquaredError(), RSquared())


def unit_of(kind: Kind, labels: Float[Tensor, " row"]) -> tuple[float, float]:
    """What labels are standardized by, (label - first) / second, from the training rows' labels.

    Regressions by mean and deviation; counts by their mean, logarithms by the geometric mean.
    """
    known = labels[~labels.isnan()]
    if len(known) == 0 or kind not in ("regression", "count", "log"):
        return 0.0, 1.0
    if kind == "regression":
        return float(known.mean()), float(known.std(correction=0)) or 1.0
    return 0.0, float(known.mean() if kind == "count" else known.log().mean().exp()) or 1.0


def is_heavy_tailed(labels: pd.Series) -> bool:
    """Whether labels above 0 are far more skewed than their logarithms.

    Example:
        >>> is_heavy_tailed(pd.Series([2.0**power for power in range(16)] * 2))
        True
    """
    from scipy import stats

    numbers = labels.dropna().astype(float)
    if len(numbers) < 30 or numbers.min() <= 0:
        return False
    skewness, of_logarithm = (float(stats.skew(each)) for each in (numbers, np.log(numbers)))
    return skewness > 2 and abs(of_logarithm) < skewness / 3


def expand_sets(
    table: pd.DataFrame, names: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, list[str]], dict[str, list[str]]]:
    """Replace each column of label sets by one column of 0 and 1 per label, ``"column: label"``.

    Labels are separated by ``;``, ``|`` or commas, or cells are lists. An empty text or list is a
    set without labels; a missing cell is a missing label of every task.

    Returns:
        The table, the new columns of each column, and its labels that too few rows have.

    Raises:
        InputError: If a column has fewer than one label that often enough comes or does not come.

    Example:
        >>> table = pd.DataFrame({"tags": ["a;b", "b", "", "a"] * 10})
        >>> expand_sets(table, ["tags"])[1]
        {'tags': ['tags: a', 'tags: b']}
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


def _plain(label: object) -> object:
    """A label as it is shown: whole numbers without a decimal point."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _order(label: object) -> tuple[str, bool, object]:
    """Sorts labels by type and value, and a word for no before one for yes."""
    return str(type(label)), isinstance(label, str) and label.casefold() in TRUE, label
