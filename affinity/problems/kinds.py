"""The kind of a target: inferred from its values, or chosen."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.reading import DataNote, Kind
from affinity.reading.formats import TRUE, plain_label
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CensoredDeviance,
    CrossEntropy,
    NamedMetric,
    OrdinalCrossEntropy,
    PoissonDeviance,
    RocAuc,
    RSquared,
    SquaredError,
    SquaredLogError,
    Task,
    VectorError,
    VectorRSquared,
)
from affinity.words import count

MOST_CLASSES = 10  # numbers with more distinct values than this are a regression
NUMBERS: tuple[Kind, ...] = ("regression", "count", "log", "ordinal", "censored")
"""Kinds whose labels are numbers; levels given by name may be text."""
MOST_LEVELS = 30
ROWS_OF_CLASS = 10  # rows that a class should have, so that each split holds one or two of them
FEW_CLASSES = 10  # more classes than this must have two rows each on average


def find_kind(values: pd.Series) -> Kind:
    """Kind of a target from its labelled values.

    Two values are binary; strings, or at most ten different whole numbers, are classes;
    everything else is a regression.
    """
    labels = values.dropna()
    distinct = labels.nunique()
    if distinct == 2:
        return "binary"
    if not pd.api.types.is_numeric_dtype(labels):
        return "classes"
    whole = bool((labels.astype(float) % 1 == 0).all())
    return "classes" if whole and distinct <= MOST_CLASSES else "regression"


def check_target(name: str, values: pd.Series, kind: Kind, levels: Sequence[str] = ()) -> None:
    """Check that a target can be learned."""
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
            f"Expected the target {name!r} to vary, but its only label is "
            f"{plain_label(labels.iloc[0])!r} ({count(len(labels), 'row')}). Leave it out."
            + (
                f" If an empty cell ({count(n_missing, 'row')}) is a label, too, write it there."
                if (n_missing := len(values) - len(labels))
                else ""
            ),
            "constant-target",
        )
    if kind == "binary" and distinct != 2:
        raise InputError(
            f"Expected two values in the binary target {name!r}, but found {distinct}: "
            f"{sorted(map(str, labels.unique()))[:5]}.",
            "target-does-not-fit-kind",
        )
    if levels:
        levels_of(name, labels, levels)
    elif kind in NUMBERS and not pd.api.types.is_numeric_dtype(labels):
        example = next(
            value
            for value, number in zip(labels, pd.to_numeric(labels, errors="coerce"), strict=True)
            if np.isnan(number)
        )
        raise InputError(
            f"Expected numbers in the {kind} target {name!r}, but found {example!r}."
            + (
                f" Give the levels in order: --kind {name}=ordinal:low,high."
                if kind == "ordinal"
                else ""
            ),
            "target-does-not-fit-kind",
        )
    if kind in ("count", "log", "censored"):
        numbers = labels.astype(float)
        bad = numbers[numbers < 0] if kind == "count" else numbers[numbers <= 0]
        if len(bad):
            least = "counts of at least 0" if kind == "count" else "numbers above 0"
            remedy = f"Use --kind {name}=regression"
            if kind == "censored":
                remedy = "Leave such rows out, or give them a small time, such as half a day"
            raise InputError(
                f"Expected {least} in the target {name!r}, but row {bad.index[0]} holds "
                f"{bad.iloc[0]:g}. {remedy}.",
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
            f"{plain_label(labels.iloc[0])!r}. If they are numbers, mend the column and use "
            f"--kind {name}=regression; an identifier or free text cannot be predicted.",
            "too-many-classes",
        )
    if kind == "classes" and distinct > 1000:
        raise InputError(
            f"Expected up to 1000 classes in the target {name!r}, but found {distinct}. "
            f"Use --kind {name}=regression, or leave it out.",
            "target-does-not-fit-kind",
        )


def levels_of(name: str, values: pd.Series, levels: Sequence[str]) -> list[object]:
    """The levels of an ordinal target in the order given, as its labels spell them."""
    labels = {
        str(plain_label(label)).strip().casefold(): label for label in values.dropna().unique()
    }
    keys = [level.strip().casefold() for level in levels]
    if len(set(keys)) < max(2, len(keys)):
        raise InputError(
            f"Expected at least two different levels of the ordinal target {name!r}, but got "
            f"{list(levels)}.",
            "target-does-not-fit-kind",
        )
    if unknown := sorted(set(labels) - set(keys)):
        label = labels[unknown[0]]
        raise InputError(
            f"Expected the levels {list(levels)} in the ordinal target {name!r}, but row "
            f"{values.index[values == label][0]} holds {plain_label(label)!r}.",
            "target-does-not-fit-kind",
        )
    return [plain_label(labels.get(key, level)) for key, level in zip(keys, levels, strict=True)]


def classes_of(
    name: str, values: pd.Series, kind: Kind, levels: Sequence[str] = ()
) -> list[object] | None:
    """The classes of a target in the order of their numbers 0, 1, ...; None for numbers."""
    if kind in ("regression", "count", "log", "censored", "vector"):
        return None
    if levels:
        return levels_of(name, values, levels)
    return sorted(map(plain_label, values.dropna().unique().tolist()), key=_order)


def encode_target(values: pd.Series, classes: list[object] | None) -> np.ndarray:
    """Labels as floats: the number of the class, or the number itself; NaN where missing."""
    if classes is None:
        return pd.to_numeric(values).to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = {value: float(number) for number, value in enumerate(classes)}
    return values.map(numbers).to_numpy(dtype=np.float64, na_value=np.nan)


def task_of(
    name: str,
    kind: Kind,
    classes: list[object] | None,
    vectors: Float[Tensor, "row component"] | None = None,
) -> Task:
    """A task with the loss and the metric of its kind; `vectors` are the labels of a vector."""
    if vectors is not None:
        loss = VectorError(vectors)
        return Task(name, loss, VectorRSquared(loss), n_outputs=vectors.shape[1])
    if kind == "censored":
        return Task(name, CensoredDeviance(), NamedMetric("concordance_index", "censored"))
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

    Regressions by mean and deviation; counts by their mean, logarithms by the geometric mean,
    censored times by the total time per event.
    """
    known = labels[~labels.isnan()]
    if len(known) == 0 or kind not in ("regression", "count", "log", "censored"):
        return 0.0, 1.0
    if kind == "regression":
        return float(known.mean()), float(known.std(correction=0)) or 1.0
    if kind == "censored":
        return 0.0, float(known.abs().sum() / (known > 0).sum().clamp(min=1))
    return 0.0, float(known.mean() if kind == "count" else known.log().mean().exp()) or 1.0


def kind_hint(name: str, values: pd.Series, kind: Kind) -> DataNote | None:
    """A note on a target whose inferred kind may not be the best one."""
    labels = values.dropna()
    if not pd.api.types.is_numeric_dtype(labels):
        if kind == "classes" and _holds_sets(labels.astype(str)):
            return DataNote(
                "other-kind",
                f"The target {name!r} seems to hold several labels per cell, such as "
                f"{next(cell for cell in labels if _MARKS.search(str(cell)))!r}: --kind {name}=set "
                "makes a task of each label, and an empty cell a set without labels.",
                "warning",
                task=name,
            )
        return None
    numbers = labels.astype(float)
    is_whole = bool((numbers % 1 == 0).all() and numbers.min() >= 0)
    if kind == "classes" and is_whole and numbers.max() - numbers.min() < 2 * labels.nunique():
        return DataNote(
            "other-kind",
            f"The target {name!r} has {labels.nunique()} different whole numbers, which are "
            f"classes without an order. If they are in order, use --kind {name}=ordinal; if "
            f"they are counts, --kind {name}=count.",
            task=name,
        )
    if kind == "regression" and len(numbers) >= 30 and _is_skewed(numbers):
        advice = f"Its logarithm may be easier to predict: --transform {name}=log."
        if numbers.min() <= 0:
            advice = f"--metric {name}=mean_absolute_error --judge-by metric depends on them less."
            if is_whole:
                advice = f"If they are counts, use --kind {name}=count."
        elif not _is_skewed(numbers, more_than=numbers.map(np.log)):
            return None
        return DataNote(
            "heavy-tail",
            f"The target {name!r} has a heavy tail: a few large values decide its loss. {advice}",
            task=name,
        )
    return None


_MARKS = re.compile("[;|,]")
LIST = r"\s*\[.*\]\s*"
"""A list of labels, as JSON and Python write it."""


def _holds_sets(cells: pd.Series) -> bool:
    """Whether cells of text hold several labels each, which come again in other combinations."""
    if cells.str.fullmatch(LIST).all():
        return bool(cells.str.contains(",").any())
    parts = cells.str.split(_MARKS.pattern, regex=True)
    is_several = parts.map(len) > 1
    labels = parts.explode().str.strip()
    return bool(
        is_several.mean() > 0.1
        and labels.nunique() < cells.nunique()
        and set(cells[~is_several].str.strip()) <= set(labels[is_several.reindex(labels.index)])
    )


def _is_skewed(numbers: pd.Series, more_than: pd.Series | None = None) -> bool:
    """Whether numbers have a long tail; or are three times as skewed as other ones."""
    from scipy import stats

    skewness = abs(float(stats.skew(numbers)))
    return skewness > (2 if more_than is None else 3 * abs(float(stats.skew(more_than))))


def few_of_class(labels: pd.Series) -> pd.Series:
    """The classes of fewer than `ROWS_OF_CLASS` rows, with their numbers of rows."""
    counts = labels.value_counts()
    return counts[counts < ROWS_OF_CLASS]


def _order(label: object) -> tuple[str, bool, object]:
    """Sorts labels by type and value, and a word for no before one for yes."""
    return str(type(label)), isinstance(label, str) and label.casefold() in TRUE, label
