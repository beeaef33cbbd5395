"""Impressions: the rows of a log in the order of time, as tensors, with what is odd about them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from affinity.errors import InputError, check_has_columns, check_known, check_number, warn
from affinity.problems.kinds import Kind
from affinity.problems.leaks import find_leaks
from affinity.reading import DataNote
from affinity.reading.source import to_pandas

from .objective import RankingObjective, check_objectives

BUCKETS = 2**13
LAST_YEAR = 2200
TimeUnit = Literal["D", "s", "ms", "us", "ns"]


@dataclass(frozen=True, eq=False)
class Impressions:
    """Impressions in the order of time.

    Args:
        identifiers: Hashed values, from 1 on; 0 is missing.
        numbers: Other features; NaN is missing.
        labels: NaN where the label is missing, or outside the objective's sample space.
        late: Whether a label was not known at the end of its day, so that the day's training
            cannot use it.
        users: A number per user, the same in every log.
        days: The number of each row's day, in `day_names`.
        positions: From 1 on; 0 where missing.
        devices: A hashed number per type of device; 0 where missing.
        buckets: Number of hash values per identifier.
        notes: What a reader of the results should know.
    """

    objectives: tuple[RankingObjective, ...]
    identifier_names: tuple[str, ...]
    number_names: tuple[str, ...]
    identifiers: Int[Tensor, "row identifier"]
    numbers: Float[Tensor, "row number"]
    labels: Float[Tensor, "row objective"]
    late: Bool[Tensor, "row objective"]
    users: Int[Tensor, " row"]
    days: Int[Tensor, " row"]
    day_names: tuple[str, ...]
    positions: Int[Tensor, " row"]
    devices: Int[Tensor, " row"]
    buckets: int = BUCKETS
    notes: tuple[DataNote, ...] = ()

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: slice | Tensor) -> "Impressions":
        """The chosen rows, in the order given."""
        tensors = {
            field.name: value[rows]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)

    def day(self, number: int) -> "Impressions":
        """The impressions of one day, counted from 0."""
        first, end = torch.searchsorted(self.days, torch.tensor([number, number + 1])).tolist()
        return self.take(slice(first, end))

    def of(self, names: Sequence[str]) -> "Impressions":
        """The same rows with some of the objectives.

        An objective whose `after` is left out keeps its sample space, but is no product.
        """
        places = [
            place for place, objective in enumerate(self.objectives) if objective.name in names
        ]
        check_known("objectives", names, [each.name for each in self.objectives], "unknown-task")
        kept = tuple(self.objectives[place] for place in places)
        kept = tuple(
            objective if objective.after in names else replace(objective, after=None, product=False)
            for objective in kept
        )
        return replace(
            self, objectives=kept, labels=self.labels[:, places], late=self.late[:, places]
        )


def read_impressions(
    log: Any,
    objectives: Iterable[RankingObjective],
    *,
    time: str,
    user: str,
    identifiers: Sequence[str],
    numbers: Sequence[str] = (),
    day: str | None = None,
    time_unit: TimeUnit | None = None,
    position: str | None = None,
    device: str | None = None,
    known_at: Mapping[str, str] | None = None,
    buckets: int = BUCKETS,
) -> Impressions:
    """Read a log of impressions.

    Args:
        log: One row per impression, in the order of time: a frame of pandas or another library.
        objectives: What is predicted; each is a column of labels, NaN where missing.
        time: Column with the time of the impression: timestamps, text as in ISO 8601, or numbers.
        user: Column that identifies the user. Impressions without one are each by a user of their
            own, so that metrics within users leave them out.
        identifiers: Columns that are hashed and embedded, of the query, the candidate and the
            context. Columns of numbers with few values may be among them.
        day: Column with the day; by default the day of `time`, in its own time zone.
        time_unit: Unit of a time that is a number, such as ``"ms"``.
        position: Column with the position at which the candidate was shown, from 1 on.
        device: Column with the type of device.
        known_at: For labels or features, the column with the time at which they became known (in
            the same unit): a feature must be known at the impression, a label not before it.

    Raises:
        InputError: If columns or times are missing, times or days are out of order, labels do not
            fit their objective, a label or the position is among the features, a number is not
            finite, or a feature is known too late.

    Example:
        >>> log = pd.DataFrame({"time": [1, 2], "user": ["a", "b"], "video": [7, 8],
        ...                     "click": [0, 1]})
        >>> impressions = read_impressions(
        ...     log, [RankingObjective("click")], time="time", time_unit="s", user="user",
        ...     identifiers=["user", "video"])
        >>> impressions.labels.flatten().tolist(), impressions.day_names
        ([0.0, 1.0], ('1970-01-01',))
    """
    objectives = check_objectives(objectives)
    names = [objective.name for objective in objectives]
    known_at = dict(known_at or {})
    identifiers, numbers = _listed(identifiers), _listed(numbers)
    log = to_pandas(log)
    check_number("buckets", buckets, least=2)
    _check_columns(
        log,
        [time, user, *identifiers, *numbers, *names, *known_at, *known_at.values()]
        + [column for column in (day, position, device) if column is not None],
    )
    if leaking := sorted({*identifiers, *numbers} & set(names)):
        raise InputError(
            f"Expected features that are known before the impression, but {leaking} are labels.",
            "label-as-feature",
        )
    if position in {*identifiers, *numbers}:
        raise InputError(
            f"Expected features that are known when serving, but {position!r} is the position. To "
            "use it as a feature in training: RankingSettings(position='feature').",
            "position-as-feature",
        )
    inputs = [*names, *identifiers, *numbers]
    check_known("known_at of labels and features", known_at, inputs, "unknown-column")
    times = _times(log, time, time_unit)
    if not times.is_monotonic_increasing:
        row = int(np.argmax(np.diff(times.to_numpy()) < np.timedelta64(0))) + 1
        raise InputError(
            f"Expected impressions in the order of {time!r}, but row {row} is earlier than the "
            f"row before it: log.sort_values({time!r}).",
            "times-out-of-order",
        )
    codes, day_names = _days(log, times, day)
    notes = [*_notes_on_days_and_users(log[user], day_names)]
    labels = _labels(log, objectives, notes)
    late = np.zeros(labels.shape, dtype=bool)
    _check_known_at(log, objectives, known_at, times, time_unit, [*identifiers, *numbers])
    for place, name in enumerate(names):
        if name in known_at:
            when = _times(log, known_at[name], time_unit, may_be_missing=True)
            ends = times.groupby(codes).transform("max")
            late[:, place] = (when > ends) & ~np.isnan(labels[:, place])
            if late[:, place].any():
                count = int(late[:, place].sum())
                notes.append(
                    DataNote(
                        "late-labels",
                        f"{count:,} labels of {name!r} became known after the last impression of "
                        "their day: the training of that day leaves them out.",
                        task=name,
                        value=float(count),
                    )
                )
    features = [name for name in (*identifiers, *numbers) if name != user]
    notes += _revealing(log, objectives, labels, features)
    places = np.zeros(len(log), dtype=np.int64)
    if position is not None:
        places = _positions(log, position)
    return Impressions(
        objectives,
        tuple(identifiers),
        tuple(numbers),
        torch.from_numpy(
            np.stack([hashed(log[name], buckets) for name in identifiers], axis=1)
            if identifiers
            else np.zeros((len(log), 0), dtype=np.int64)
        ),
        torch.from_numpy(_numbers(log, numbers)),
        torch.from_numpy(labels).float(),
        torch.from_numpy(late),
        torch.from_numpy(_users(log[user])),
        torch.from_numpy(codes),
        day_names,
        torch.from_numpy(places),
        torch.from_numpy(
            np.zeros(len(log), dtype=np.int64) if device is None else hashed(log[device], 64)
        ),
        buckets,
        tuple(notes),
    )


def hashed(values: pd.Series, buckets: int) -> Int[np.ndarray, " row"]:
    """A number from 1 to `buckets` - 1 per value, the same in every run; 0 where missing.

    Whole numbers have the hash of their digits, whatever their type.
    """
    is_missing = values.isna().to_numpy()
    if pd.api.types.is_float_dtype(values):
        known = values.dropna()
        if (known % 1 == 0).all():
            values = values.astype("Int64")
    codes, unique = pd.factorize(values.astype(str).to_numpy(), use_na_sentinel=False)
    hashes = pd.util.hash_array(np.asarray(unique, dtype=object), categorize=False)
    numbers = (hashes % np.uint64(buckets - 1)).astype(np.int64) + 1
    return np.where(is_missing, 0, numbers[codes])


def _listed(names: Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _users(users: pd.Series) -> Int[np.ndarray, " row"]:
    """A hash per user; those that are missing differ from all others."""
    numbers = hashed(users, 2**62)
    return np.where(numbers == 0, -1 - np.arange(len(users)), numbers)


def _notes_on_days_and_users(users: pd.Series, day_names: Sequence[str]) -> Iterator[DataNote]:
    if len(day_names) == 1:
        yield DataNote(
            "single-day",
            f"All impressions are of one day, {day_names[0]}: no day is evaluated before it is "
            "trained on. If the log has more days, the time_unit is wrong.",
            "warning",
        )
    if count := int(users.isna().sum()):
        yield DataNote(
            "missing-users",
            f"{count:,} impressions have no user: each counts as a user of its own, and "
            "metrics within users leave them out.",
            "warning",
            column=str(users.name),
            value=float(count),
        )


def _check_columns(log: pd.DataFrame, columns: Sequence[str]) -> None:
    check_has_columns(log.columns, columns)
    if other := [name for name in columns if not isinstance(name, str)]:  # pyright: ignore
        raise InputError(
            f"Expected column names that are text, but got {other}: log.rename(columns=str).",
            "column-name-not-text",
        )
    if twice := sorted({str(name) for name in columns if (log.columns == name).sum() > 1}):
        raise InputError(
            f"Expected unique column names, but {twice} come more than once.", "duplicate-column"
        )
    if not len(log):
        raise InputError("Expected impressions, but the log has no rows.", "no-rows")


def _times(
    log: pd.DataFrame, column: str, unit: TimeUnit | None, *, may_be_missing: bool = False
) -> pd.Series:
    values = log[column].reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(values) and unit is None:
        raise InputError(
            f"Expected the unit of the times in {column!r}, which are numbers: time_unit='s' or "
            "'ms'.",
            "missing-time-unit",
        )
    try:
        is_number = pd.api.types.is_numeric_dtype(values)
        times = (
            pd.to_datetime(values, unit=unit)
            if is_number
            else pd.to_datetime(values, format="ISO8601")
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            "Expected timestamps, text like 2026-05-31 12:30:00, or numbers with their time_unit "
            f"in column {column!r}, but they cannot be read: {str(error).splitlines()[0]}. Convert "
            "them first, with pd.to_datetime(..., format=..., utc=True).",
            "invalid-time",
        ) from error
    if len(times) and (year := times.dt.year.max()) > LAST_YEAR:
        raise InputError(
            f"Expected times before the year {LAST_YEAR} in column {column!r}, but the last is in "
            f"{year:.0f}: give the time_unit of the numbers, such as 'ms'.",
            "invalid-time",
        )
    if times.isna().any() and not may_be_missing:
        rows = np.flatnonzero(times.isna())
        raise InputError(
            f"Expected a time for every impression, but {len(rows):,} are missing in {column!r}, "
            f"the first in row {rows[0]}. Leave these rows out: without a time, they may be of the "
            "future.",
            "missing-time",
        )
    return times


def _days(
    log: pd.DataFrame, times: pd.Series, column: str | None
) -> tuple[Int[np.ndarray, " row"], tuple[str, ...]]:
    days = times.dt.strftime("%Y-%m-%d") if column is None else log[column].reset_index(drop=True)
    codes, unique = pd.factorize(days)  # in the order of time
    if (codes < 0).any() or (np.diff(codes) < 0).any():
        raise InputError(
            f"Expected every impression to have a day in {column!r}, in the order of time, but a "
            "day is missing, or continues after another one has begun.",
            "days-out-of-order",
        )
    return np.array(codes, dtype=np.int64), tuple(map(str, unique))


def _labels(
    log: pd.DataFrame, objectives: Sequence[RankingObjective], notes: list[DataNote]
) -> Float[np.ndarray, "row objective"]:
    labels: dict[str, np.ndarray] = {}
    for objective in objectives:
        name = objective.name
        try:
            values = log[name].astype(float).to_numpy(copy=True)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"Expected numbers as labels of {name!r}, but got {error}.", "label-not-a-number"
            ) from error
        known = values[~np.isnan(values)]
        if objective.is_binary and not np.isin(known, (0, 1)).all():
            raise InputError(
                f"Expected labels of 0 or 1 for the binary objective {name!r}, but got "
                f"{sorted(set(known.tolist()) - {0.0, 1.0})[:3]}.",
                "label-not-binary",
            )
        if not objective.is_binary and not ((known >= 0) & np.isfinite(known)).all():
            raise InputError(
                f"Expected finite times of at least 0 for {name!r}, but got {known.min()} to "
                f"{known.max()}.",
                "negative-time",
            )
        if objective.after is not None:
            condition = labels[objective.after]
            outside = (condition != 1) & (np.nan_to_num(values) > 0)
            if outside.any():
                notes.append(
                    DataNote(
                        "labels-outside-sample-space",
                        f"{int(outside.sum()):,} impressions have a label of {name!r} above 0 "
                        f"without {objective.after!r}. They are left out: either the label does "
                        "not depend on it, or one of the two was logged at the wrong time.",
                        "warning",
                        task=name,
                        value=float(outside.sum()),
                    )
                )
            if objective.product:
                values = np.where(condition == 0, 0.0, np.where(condition == 1, values, np.nan))
            else:
                values[condition != 1] = np.nan
        labels[name] = values
    return np.stack(list(labels.values()), axis=1)


def _check_known_at(
    log: pd.DataFrame,
    objectives: Sequence[RankingObjective],
    known_at: Mapping[str, str],
    times: pd.Series,
    unit: TimeUnit | None,
    features: Sequence[str],
) -> None:
    after = {objective.name: objective.after for objective in objectives}
    for name, column in known_at.items():
        when = _times(log, column, unit, may_be_missing=True)
        if name in features and (late := (when > times)).any():
            raise InputError(
                f"Expected the feature {name!r} to be known at the impression, but {column!r} is "
                f"later in {int(late.sum()):,} rows: it would leak from the future.",
                "feature-from-the-future",
            )
        if name in after and (early := (when < times)).any():
            raise InputError(
                f"Expected the label {name!r} to become known after the impression, but "
                f"{column!r} is earlier in {int(early.sum()):,} rows.",
                "label-before-impression",
            )
        condition = after.get(name)
        if condition is not None and condition in known_at:
            needed = _times(log, known_at[condition], unit, may_be_missing=True)
            if (early := (when < needed)).any():
                raise InputError(
                    f"Expected the label {name!r} to become known after {condition!r}, which it "
                    f"follows, but {column!r} is earlier in {int(early.sum()):,} rows.",
                    "label-before-its-condition",
                )


def _revealing(
    log: pd.DataFrame,
    objectives: Sequence[RankingObjective],
    labels: Float[np.ndarray, "row objective"],
    features: Sequence[str],
) -> list[DataNote]:
    """Features that nearly give a label away, with one warning."""
    targets = pd.DataFrame(labels, columns=[objective.name for objective in objectives])
    kinds: dict[str, Kind] = {
        objective.name: "binary" if objective.is_binary else "regression"
        for objective in objectives
    }
    raw = log[list(dict.fromkeys(features))].reset_index(drop=True)
    leaks = [
        replace(
            leak,
            code="feature-reveals-label",
            message=f"Feature {leak.column!r} nearly gives the label {leak.task!r} away (a figure "
            f"of {leak.value:.3f}, where 1 says all): probably it was logged after the impression. "
            "Leave it out.",
            severity="serious",
        )
        for leak in find_leaks(raw, targets, kinds)
    ]
    if leaks:
        warn(" ".join(leak.message for leak in leaks), "feature-reveals-label")
    return leaks


def _positions(log: pd.DataFrame, column: str) -> Int[np.ndarray, " row"]:
    values = pd.to_numeric(log[column], errors="coerce")
    known = values.dropna()
    if (values.isna() & log[column].notna()).any() or ((known < 1) | (known % 1 != 0)).any():
        raise InputError(
            f"Expected whole numbers from 1 on as positions in {column!r}, missing where unknown.",
            "invalid-position",
        )
    return values.fillna(0).to_numpy(dtype=np.int64, copy=True)


def _numbers(log: pd.DataFrame, columns: Sequence[str]) -> Float[np.ndarray, "row number"]:
    try:
        numbers = log[list(columns)].to_numpy(dtype=np.float32, copy=True)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"Expected numbers in the columns {list(columns)}, but {error}; other values can be "
            "hashed: identifiers=[...].",
            "not-a-number",
        ) from error
    is_infinite = np.isinf(numbers)
    if infinite := [name for place, name in enumerate(columns) if is_infinite[:, place].any()]:
        raise InputError(
            f"Expected finite numbers, or missing ones, in the columns {infinite}.", "not-finite"
        )
    return numbers
