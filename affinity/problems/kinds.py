"""The kind of a target, inferred from its values: binary, classes or regression."""

from typing import Literal, get_args

import numpy as np
import pandas as pd

from affinity.errors import InputError
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CrossEntropy,
    RocAuc,
    RSquared,
    SquaredError,
    Task,
)

from .formats import TRUE

Kind = Literal["binary", "classes", "regression"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_CLASSES = 10
"""Numbers with more distinct values than this are a regression."""
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
    if kind == "regression" and not pd.api.types.is_numeric_dtype(labels):
        example = next(
            value
            for value, number in zip(labels, pd.to_numeric(labels, errors="coerce"), strict=True)
            if np.isnan(number)
        )
        raise InputError(
            f"Expected numbers in the regression target {name!r}, but found {example!r}.",
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
    """The classes of a target in the order of their numbers 0, 1, ...; None for a regression."""
    if kind == "regression":
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
    return Task(name, SquaredError(), RSquared())


def _plain(label: object) -> object:
    """A label as it is shown: whole numbers without a decimal point."""
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _order(label: object) -> tuple[str, bool, object]:
    """Sorts labels by type and value, and a word for no before one for yes."""
    return str(type(label)), isinstance(label, str) and label.casefold() in TRUE, label
