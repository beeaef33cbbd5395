"""Related rows: rows that say nearly the same, so that a random split tests on what was learned."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from affinity.reading import DataNote, Kind
from affinity.words import in_percent

from .leaks import MOST_ROWS, Labels, RawColumn, as_numbers

FEWEST_VALUES = 20  # a column with fewer values is taken for a category
ROWS_PER_VALUE = 2.0, 100.0
EXPLAINED_BY_GROUPS = 0.5
LARGEST_SHARE_IN_ORDER = 0.8
_IDENTIFIER = re.compile(
    r"(^|[^a-z])(id|ids|uid|uuid|guid|patient|subject|person|user|customer|client|account|"
    r"session|device|participant|household|student|member|employee)([^a-z]|$)"
)


def find_group_columns(
    features: pd.DataFrame, targets: pd.DataFrame, kinds: Mapping[str, Kind], exclude: Sequence[str]
) -> list[DataNote]:
    """Columns whose values look like groups of rows: a patient, a user, a device.

    Such a column has text or whole numbers with at least 20 values and two rows per value, and
    either the name of an identifier, or its values, with up to 100 rows each, explain half of the
    variation of a target. A quantity is no identifier: pairs of neighbouring values explain nearly
    as much.
    """
    labels = Labels.of(targets, kinds)
    notes: list[DataNote] = []
    step = max(1, len(features) // MOST_ROWS)
    for name in map(str, features.columns):
        column = RawColumn(features[name])
        n_rows = int((column.codes >= 0).sum())
        is_discrete = column.numbers is None or bool((np.nan_to_num(column.numbers) % 1 == 0).all())
        if name in exclude or not is_discrete or column.n_values < FEWEST_VALUES:
            continue
        per_value = n_rows / column.n_values
        if per_value < ROWS_PER_VALUE[0]:
            continue
        sampled = np.where(column.codes % step == 0, column.codes, -1)  # whole values
        explained = labels.explained(sampled)
        share, task = max(zip(explained.tolist(), labels.tasks, strict=True), default=(0.0, ""))
        if per_value > ROWS_PER_VALUE[1]:
            share = 0.0
        elif column.numbers is not None and share >= EXPLAINED_BY_GROUPS:
            ranks = np.unique(column.numbers, return_inverse=True)[1]
            in_pairs = np.where(sampled >= 0, ranks // 2, -1)
            if labels.explained(in_pairs).max(initial=0) >= LARGEST_SHARE_IN_ORDER * share:
                share = 0.0
        is_named = _IDENTIFIER.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) is not None
        if share < EXPLAINED_BY_GROUPS and not is_named:
            continue
        reason = (
            f"they explain {in_percent(share, 1)} of the variation of {task!r}"
            if share >= EXPLAINED_BY_GROUPS
            else "its name is that of an identifier"
        )
        notes.append(
            DataNote(
                "looks-like-groups",
                f"Column {name!r} looks like groups of rows: {column.n_values:,} values, "
                f"{per_value:.1f} rows per value, and {reason}. If predictions are "
                "for new groups, scores are too good unless rows of one group stay together: "
                f"--group-column {shlex.quote(name)}.",
                "serious" if share >= EXPLAINED_BY_GROUPS else "warning",
                name,
                value=share,
            )
        )
    return notes


def find_copied_rows(
    columns: pd.DataFrame,
    hashes: np.ndarray,
    development: Int[np.ndarray, " development"],
    test: Int[np.ndarray, " test"],
    compared: str = "labels included",
) -> list[DataNote]:
    """Whether test rows are equal to development rows in all columns, more often than by chance.

    Chance is that of columns that do not depend on each other: a few categories repeat by nature.
    """
    is_copy = np.isin(hashes[test], hashes[development])
    share = float(is_copy.mean())
    sample = columns.sample(min(MOST_ROWS, len(columns)), random_state=0)
    equal = [(sample[name].value_counts(normalize=True) ** 2).sum() for name in sample]
    by_chance = 1 - np.exp(-len(development) * float(np.prod(equal)))
    if share < max(0.01, 3 * by_chance):
        return []
    return [
        DataNote(
            "copied-rows",
            f"{int(is_copy.sum()):,} of {len(test):,} test rows ({in_percent(share, 1)}) are "
            f"copies of development rows, {compared}: scores are too good. Remove duplicate rows, "
            "or keep them together with --group-column.",
            "serious" if share >= 0.1 else "warning",
            value=share,
        )
    ]


def find_near_rows(
    features: pd.DataFrame,
    development: Int[np.ndarray, " development"],
    test: Int[np.ndarray, " test"],
) -> list[DataNote]:
    r"""Whether test rows have development rows much nearer than chance allows.

    If rows are independent, the distance :math:`d_1` to the nearest of n rows and :math:`d_k` to
    the k-th have :math:`P(d_1 \le r d_k) = 1 - (1 - r^D)^{k-1}` in D dimensions, whatever the
    density; D is estimated from :math:`d_{4k} / d_k`. Several rows of one person are nearer. Only
    columns of numbers that hardly repeat are compared, and only where there are four of them.
    """
    from sklearn.neighbors import NearestNeighbors

    values = _continuous(features)
    if values.shape[1] < 4 or len(development) < 200:
        return []
    random = np.random.default_rng(0)
    development = random.permutation(development)[:MOST_ROWS]
    test = random.permutation(test)[:500]
    k = 20 if len(development) >= 800 else 10
    neighbours = NearestNeighbors(n_neighbors=4 * k).fit(values[development])
    distances = np.asarray(neighbours.kneighbors(values[test])[0])
    nearest, near, far = (distances[:, place - 1] for place in (1, k, 4 * k))
    is_spread = (near > 0) & (far > near)
    if is_spread.mean() < 0.5:
        return []
    nearest, near, far = nearest[is_spread], near[is_spread], far[is_spread]
    dimension = np.log(4) / np.log(far / near).mean()
    for ratio, least in ((0.02, 0.3), (0.1, 0.3), (0.25, 0.3), (0.5, 0.3), (0.02, 0.05)):
        by_chance = 1 - (1 - ratio**dimension) ** (k - 1)
        share = float((nearest <= ratio * near).mean())
        if share >= max(least, 3 * by_chance):
            return [
                DataNote(
                    "near-rows",
                    f"{in_percent(share)} of the test rows have a development row that is at least "
                    f"{1 / ratio:.0f} times nearer than their {k}th nearest one (by chance: "
                    f"{in_percent(by_chance)}). There seem to be several rows of the same person "
                    "or thing: name the column that says whose they are with --group-column, or "
                    "scores are too good.",
                    "serious" if share >= 0.3 else "warning",
                    value=share,
                )
            ]
    return []


def _continuous(features: pd.DataFrame) -> np.ndarray:
    from sklearn.preprocessing import StandardScaler

    columns: list[np.ndarray] = []
    for name in features.columns:
        numbers = as_numbers(features[name])
        if numbers is not None and len(np.unique(numbers)) >= 0.5 * len(numbers):
            columns.append(np.where(np.isnan(numbers), np.nanmedian(numbers), numbers))
    if not columns:
        return np.empty((len(features), 0))
    return np.clip(StandardScaler().fit_transform(np.column_stack(columns)), -10, 10)


def find_signs_of_time(
    dates: pd.DataFrame, targets: pd.DataFrame, kinds: Mapping[str, Kind]
) -> list[DataNote]:
    """Columns of dates in whose order neighbouring rows have similar labels."""
    labels = Labels.of(targets, kinds)
    notes: list[DataNote] = []
    for name in map(str, dates.columns):
        explained = labels.explained_by_neighbours(dates[name].to_numpy(float))
        share, task = max(zip(explained.tolist(), labels.tasks, strict=True), default=(0.0, ""))
        if share >= EXPLAINED_BY_GROUPS:
            notes.append(
                DataNote(
                    "similar-in-time",
                    f"Rows that are neighbours in {name!r} have similar labels (they explain "
                    f"{in_percent(share, 1)} of the variation of {task!r}): a random split tests "
                    "on rows between training rows. If predictions are for the future, use "
                    f"--time-column {shlex.quote(name)}.",
                    "serious",
                    name,
                    value=share,
                )
            )
    return notes


def find_wrong_order(
    times: Mapping[str, np.ndarray],
    time_column: str,
    development: Int[np.ndarray, " development"],
    test: Int[np.ndarray, " test"],
) -> Iterator[DataNote]:
    """Development rows that are later than test rows, and columns that lie after the row's time."""
    row_times = times[time_column]
    share = float((row_times[development] > np.nanmedian(row_times[test])).mean())
    if share > 0.01:
        yield DataNote(
            "trained-on-the-future",
            f"{in_percent(share, 1)} of the development rows are later in {time_column!r} than "
            "half of the test rows: time runs the wrong way. Predictions for the future will be "
            "worse than these scores.",
            "serious",
            time_column,
            value=share,
        )
    for name, values in times.items():
        known = ~np.isnan(values) & ~np.isnan(row_times)
        if name == time_column or known.sum() < 2:
            continue
        later = float((values[known] > row_times[known]).mean())
        if later > 0.05:
            yield DataNote(
                "later-than-the-row",
                f"Column {name!r} is later than {time_column!r} in {in_percent(later)} of the "
                "rows, so it may not be known when predictions are made. If so, leave it out: "
                f"--exclude {shlex.quote(name)}.",
                "warning",
                name,
                value=later,
            )
