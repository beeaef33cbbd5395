"""Features of a table as numbers, made by scikit-learn with statistics of training rows only."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from affinity.errors import InputError

RARE = "(rare)"
"""Stands for every category too rare to have a column of its own."""


@dataclass(frozen=True, eq=False)
class FeatureColumns:
    """Which columns are numbers, which are categories, and how they are read.

    Decided once from the development rows, so that every replicate has the same columns; the
    statistics (medians, means, scales) are fitted by `transformer` on training rows.

    Args:
        numbers: Columns read as numbers.
        dates: Columns read as dates; each becomes the days since 1970.
        categories: Columns read as categories, with those frequent enough for a column each.
        dropped: Columns left out, with the reason.
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    dropped: dict[str, str]

    def read(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns as clean floats and category names."""
        columns: dict[str, object] = {}
        for name in self.numbers:
            columns[name] = _as_number(table[name]).replace([np.inf, -np.inf], np.nan)
        for name in self.dates:
            days = (_as_date(table[name]) - pd.Timestamp(0)) / pd.Timedelta(days=1)
            columns[name] = days.astype(float)
        for name, frequent in self.categories.items():
            text = _as_text(table[name])
            columns[name] = text.where(text.isin(frequent), RARE)
        return pd.DataFrame(columns, index=table.index)

    def transformer(self, development: pd.DataFrame) -> ColumnTransformer:
        """An unfitted transformer of what `read` returns; its width does not depend on the fit."""
        numbers = [*self.numbers, *self.dates]
        gaps = [name for name in numbers if development[name].isna().any()]
        scale = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            FunctionTransformer(_clip),
        )
        one_hot = OneHotEncoder(
            categories=[  # pyright: ignore[reportArgumentType]
                sorted({*names, RARE}) for names in self.categories.values()
            ],
            handle_unknown="ignore",
            sparse_output=False,
        )
        return ColumnTransformer(
            [
                ("numbers", scale, numbers),
                ("gaps", MissingIndicator(features="all"), gaps),
                ("categories", one_hot, list(self.categories)),
            ]
        )


def find_columns(development: pd.DataFrame, most_categories: int = 30) -> FeatureColumns:
    """Decide from the development rows how each column is read.

    A category gets a column of its own if at least 1 % of the rows (and at least ten) have it,
    up to `most_categories` of them; the others are pooled.

    Raises:
        InputError: If a column of numbers holds text, or if no feature is left.
    """
    numbers: list[str] = []
    dates: list[str] = []
    categories: dict[str, tuple[str, ...]] = {}
    dropped: dict[str, str] = {}
    for name in map(str, development.columns):
        column = development[name]
        if column.isna().all():
            dropped[name] = "no values"
        elif column.nunique(dropna=False) == 1:
            dropped[name] = "constant"
        elif _is_number(column):
            numbers.append(name)
        elif _is_date(column):
            dates.append(name)
        else:
            _check_no_stray_text(name, column)
            counts = _as_text(column).value_counts()
            enough = max(min(10, len(column) / 20), 0.01 * len(column))
            frequent = counts[counts >= enough].index[:most_categories]
            if len(frequent) == 0:
                dropped[name] = f"text with {len(counts)} different values, none of them frequent"
            else:
                categories[name] = tuple(map(str, frequent))
    if not (numbers or dates or categories):
        raise InputError(
            f"Expected at least one feature besides the targets, but none is left; left out: "
            f"{dropped or 'nothing'}.",
            "no-features",
        )
    return FeatureColumns(tuple(numbers), tuple(dates), categories, dropped)


def _clip(values: np.ndarray) -> np.ndarray:
    """Clip at ten standard deviations, so that one extreme value does not dominate a batch."""
    return np.clip(values, -10, 10)


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _as_number(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column).astype(float)


def _as_text(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), "(missing)").astype(str)


def _as_date(column: pd.Series) -> pd.Series:
    dates = pd.to_datetime(column, errors="coerce", format="mixed", utc=True)
    return dates.dt.tz_localize(None)


def _is_date(column: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    some = column.dropna().astype(str).head(1000)
    looks = some.str.contains(r"^\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
    return bool(looks.mean() > 0.95) and bool(_as_date(some).notna().mean() > 0.95)


def _check_no_stray_text(name: str, column: pd.Series) -> None:
    values = column.dropna()
    is_text = pd.to_numeric(values, errors="coerce").isna()
    if 0 < is_text.mean() < 0.2:
        row, stray = next((row, value) for row, value in values[is_text].items())
        raise InputError(
            f"Expected numbers in the column {name!r}, as in {1 - is_text.mean():.0%} of its rows, "
            f"but row {row} holds {stray!r} (and {int(is_text.sum()) - 1} more rows hold text). "
            f"Mend the column, or leave it out with --exclude {name}.",
            "text-among-numbers",
        )
