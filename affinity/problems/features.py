"""Features of a table as numbers, made by scikit-learn with statistics of training rows only."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from affinity.errors import InputError
from affinity.reading.cleaning import clean_table
from affinity.reading.formats import SHORTEST_WORD, ColumnFormat

MISSING = "(missing)"  # stands for a missing category
RARE = "(rare)"  # stands for every category that had no input of its own and no bucket
MOST_BUCKETS = 16


@dataclass(frozen=True, eq=False)
class FeatureColumns:
    """Which columns are numbers, which are categories, and how they are read.

    Decided once from the development rows, so that every replicate has the same columns; the
    statistics (medians, means, scales) are fitted by `transformer` on training rows.
    """

    numbers: tuple[str, ...]
    dates: tuple[str, ...]  # each becomes the days since 1970
    categories: dict[str, tuple[str, ...]]  # with those frequent enough for an input each
    dropped: dict[str, str]  # with the reason
    # inputs that a column's other categories share, by hash
    buckets: Mapping[str, int] = field(default_factory=dict[str, int])
    formats: Mapping[str, ColumnFormat] = field(default_factory=dict[str, ColumnFormat])

    def read(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns as clean floats and category names."""
        columns: dict[str, object] = {}
        for name in self.numbers:
            numbers = self.formats[name](table[name]).astype(float)
            columns[name] = numbers.replace([np.inf, -np.inf], np.nan)
        for name in self.dates:
            columns[name] = days_since_1970(self.formats[name](table[name]))
        for name in self.categories:
            columns[name] = self._categories(name, self.formats[name](table[name]))
        return pd.DataFrame(columns, index=table.index)

    @property
    def as_text(self) -> tuple[str, ...]:
        """The columns whose cells a text file must give as they are written: codes, 1.234."""
        return tuple(
            name
            for name, each in self.formats.items()
            if each.read_as == "text" or (each.read_as == "number" and each.thousands)
        )

    def levels(self, name: str) -> list[str]:
        """The categories and buckets of a column, one input each."""
        buckets = [_bucket(number) for number in range(self.buckets.get(name, 0))]
        return sorted({*self.categories[name], *(buckets or [RARE])})

    def encoding(self, name: str) -> str:
        """What the networks get of a column, in words."""
        if name in self.numbers:
            return "number, standardized"
        if name in self.dates:
            return "days since 1970, standardized"
        frequent = len(self.categories[name])
        if not (buckets := self.buckets.get(name)):
            return f"one-hot, {frequent} categories"
        if buckets == 1 and self.categories[name] == (MISSING,):
            return "whether there is a value"
        rest = "one input for all rarer ones"
        if buckets > 1:
            rest = f"the rarer ones hashed into {buckets} inputs"
        return f"one-hot, {frequent} {'category' if frequent == 1 else 'categories'}; {rest}"

    def _categories(self, name: str, text: pd.Series) -> pd.Series:
        text = text.where(text.notna(), MISSING)
        is_frequent = text.isin(self.categories[name])
        n_buckets = self.buckets.get(name, 0)
        spellings = {each.casefold(): each for each in self.categories[name]}

        def name_of(value: str) -> str:
            """A frequent category in another case, as new rows may have it; or a rare one."""
            if len(value) >= SHORTEST_WORD and value.casefold() in spellings:
                return spellings[value.casefold()]
            return _bucket(zlib.crc32(value.encode()) % n_buckets) if n_buckets else RARE

        names = {value: name_of(value) for value in text[~is_frequent].unique()}
        return text.where(is_frequent, text.map(names))

    def transformer(self, development: pd.DataFrame) -> Any:
        """An unfitted transformer of what `read` returns; its width does not depend on the fit."""
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import MissingIndicator, SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

        numbers = [*self.numbers, *self.dates]
        gaps = [name for name in numbers if development[name].isna().any()]
        scale = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            StandardScaler(),
            FunctionTransformer(_clip),
        )
        one_hot = OneHotEncoder(
            categories=[  # pyright: ignore[reportArgumentType]
                self.levels(name) for name in self.categories
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


def find_columns(
    development: pd.DataFrame,
    formats: Mapping[str, ColumnFormat] | None = None,
    most_categories: int = 30,
) -> FeatureColumns:
    """Decide from the development rows how each column is encoded.

    A category gets an input of its own if at least 1 % of the rows (and at least ten) have it, up
    to `most_categories` of them. The others share inputs by their hash, if at least half of their
    rows have a category that comes again; else (identifiers, free text) they share one input, and a
    column without frequent categories is left out.
    """
    numbers: list[str] = []
    dates: list[str] = []
    categories: dict[str, tuple[str, ...]] = {}
    buckets: dict[str, int] = {}
    dropped: dict[str, str] = {}
    if formats is None:
        cleaned = clean_table(development)
        formats, dropped = cleaned.formats, dict(cleaned.left_out)
        development = development.drop(columns=list(dropped))
    for name, raw in _columns(development):
        column = formats[name](raw)
        if column.isna().all():
            dropped[name] = "no values"
        elif column.nunique(dropna=False) == 1:
            dropped[name] = "constant"
        elif formats[name].read_as == "number":
            numbers.append(name)
        elif formats[name].read_as == "date":
            dates.append(name)
        else:
            counts = column.where(column.notna(), MISSING).value_counts()
            enough = max(min(10, len(column) / 20), 0.01 * len(column))
            frequent = counts[counts >= enough].index[:most_categories]
            rest = counts.drop(frequent)
            repeated = rest[rest > 1].sum() >= rest.sum() / 2
            if len(frequent) == 0 and not repeated:
                dropped[name] = f"text with {len(counts)} different values, few of which come again"
                continue
            categories[name] = tuple(map(str, frequent))
            if len(rest):
                buckets[name] = min(MOST_BUCKETS, len(rest)) if repeated else 1
    if not (numbers or dates or categories):
        raise InputError(
            f"Expected at least one feature in addition to the targets, but none is left; left "
            f"out: {dropped or 'nothing'}.",
            "no-features",
        )
    used = {name: formats[name] for name in (*numbers, *dates, *categories)}
    return FeatureColumns(
        tuple(numbers), tuple(dates), categories, dropped, buckets=buckets, formats=used
    )


def days_since_1970(dates: pd.Series) -> pd.Series:
    """Dates as numbers of days."""
    first = pd.Timestamp(1970, 1, 1).as_unit("us")  # nanoseconds would end in the year 2262
    return ((dates.astype("datetime64[us]") - first) / pd.Timedelta(days=1)).astype(float)


def _columns(table: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    return [(str(name), table[name]) for name in table.columns]


def _bucket(number: int) -> str:
    return f"(rare, hash {number})"


def _clip(values: np.ndarray) -> np.ndarray:
    """Clip at ten standard deviations, so that one extreme value does not dominate a batch."""
    return np.clip(values, -10, 10)
