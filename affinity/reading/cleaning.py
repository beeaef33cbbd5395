"""Cleaning: finds out how each column of a table is read, from all of its rows.

Not by skrub's `Cleaner` (0.11), which reads few of these formats and guesses silently.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from affinity.errors import InputError
from affinity.words import in_percent, shorten

from .formats import (
    DATE,
    FALSE,
    ISO_DATE,
    ISO_ZONE,
    LIKELY_MISSING,
    MOST_EXACT,
    MULTIPLIERS,
    NAMED_MONTHS,
    NUMBER,
    ORDERS,
    SEPARATORS,
    SHORTEST_WORD,
    TRUE,
    ColumnFormat,
    fold,
    fold_spaces,
    is_missing_mark,
    is_text,
    ordered_levels,
    parse_dates,
    parse_durations,
    parse_numbers,
    plain,
    units_of,
    without_marks,
)
from .note import DataNote, Severity

SAMPLE = 1000
FEW_CODES = 20  # up to this many values, numbers mixed with text are codes: 0, 1, 2, 3+
FEWEST_SUMMED = 10  # rows from which on a last row of sums is no chance
FEWEST_DAYS = 5  # this many values such as 20230131, all of them days, are dates
LATEST_SHORT_YEAR = 2040  # later years of two digits are named: they may be of the last century
FIRST_DAYS = {"1900-01-01", "1970-01-01", "1899-12-30", "1899-12-31", "1753-01-01", "0001-01-01"}
"""Days from which clocks and calendars count; they often stand for a missing date."""
TOTALS = {"total", "totals", "grand total", "sum", "average", "mean", "summe", "gesamt", "somme"}
Role = Literal["feature", "target", "other"]


@dataclass(frozen=True)
class Remark:
    """How a column was read, where it was not read as it stands."""

    code: str
    text: str
    severity: Severity = "note"


_LONG_CODES = Remark("codes", "whole numbers above 2^53 were read as codes, not as numbers.")


@dataclass(frozen=True, eq=False)
class CleanTable:
    """A table whose columns hold numbers, dates (in UTC) or text."""

    frame: pd.DataFrame
    formats: Mapping[str, ColumnFormat]
    remarks: Mapping[str, tuple[Remark, ...]]
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def notes(self) -> list[DataNote]:
        """One note per kind of remark that concerns up to three columns; else they are counted."""
        notes: list[DataNote] = []
        by_code: dict[str, list[tuple[str, Remark]]] = {}
        for name, remarks in self.remarks.items():
            for remark in remarks:
                by_code.setdefault(remark.code, []).append((name, remark))
        for code, entries in by_code.items():
            notes += [
                DataNote(code, f"Column {name!r}: {remark.text}", remark.severity, column=name)
                for name, remark in entries[:3]
            ]
            if rest := entries[3:]:
                names = shorten(repr(name) for name, _ in rest)
                text = f"The same ({code}) holds of {len(rest)} more columns: {names}."
                notes.append(DataNote(code, text, rest[0][1].severity))
        return notes


def clean_table(
    table: pd.DataFrame,
    targets: Collection[str] = (),
    others: Collection[str] = (),
    *,
    missing: Collection[str] = (),
    date_formats: Mapping[str, str] | None = None,
    decimal: str | None = None,
) -> CleanTable:
    """Read each column as numbers, dates or text, in one format per column.

    Columns that are not to be used must have been removed; `others` say something about rows (task,
    split, group, time) and are no features. Text among numbers is refused more strictly in targets.
    A missing mark is a value for all columns, or ``COLUMN=VALUE``; date formats are those of
    `datetime.strptime`.
    """
    marks = marks_by_column(list(map(str, table.columns)), missing, date_formats or {})
    used = {*targets, *others}
    frame: dict[str, pd.Series] = {}
    formats: dict[str, ColumnFormat] = {}
    remarks: dict[str, tuple[Remark, ...]] = {}
    left_out: dict[str, str] = {}
    undecided: list[str] = []
    for name in map(str, table.columns):
        column = plain(table[name])
        if name not in used and is_saved_index(name, column):
            left_out[name] = "a saved row index, not data"
            continue
        role: Role = "target" if name in targets else "other" if name in others else "feature"
        marked = without_marks(column, marks[name])
        if is_text(column) and (levels := ordered_levels(table[name])):
            column_format, notes = _levels_format(levels, role)
        else:
            date_format = (date_formats or {}).get(name)
            column_format, notes = find_format(marked, role, date_format, decimal)
        if any(remark.code == "ambiguous-number" for remark in notes):
            undecided.append(name)
        formats[name] = replace(column_format, missing=marks[name])
        remarks[name] = notes
        frame[name] = formats[name](column)
    has_commas = any(each.decimal == "," for name, each in formats.items() if name not in undecided)
    if undecided and decimal is None and has_commas:
        columns = {name: table[name] for name in undecided}
        again = clean_table(
            pd.DataFrame(columns), missing=_for(marks, undecided), decimal=",", targets=targets
        )
        frame |= {name: again.frame[name] for name in undecided}
        formats |= again.formats
        remarks |= again.remarks
    _refuse_totals(frame)
    for name, column in frame.items():
        if sentinels := _sentinel_remarks(name, column):
            remarks[name] = (*remarks[name], *sentinels)
    return CleanTable(
        pd.DataFrame(frame, index=table.index),
        formats,
        {name: entries for name, entries in remarks.items() if entries},
        left_out,
    )


def _levels_format(levels: tuple[str, ...], role: Role) -> tuple[ColumnFormat, tuple[Remark, ...]]:
    """A feature is the number of its level; a target and others keep its name."""
    shown = " < ".join(levels if len(levels) < 7 else [*levels[:3], "...", *levels[-3:]])
    read_as = "number" if role == "feature" else "text"
    remark = Remark("ordered-levels", f"levels in the order of the table: {shown}.")
    return ColumnFormat(read_as, levels=levels), (remark,)


def find_format(
    column: pd.Series, role: Role, date_format: str | None = None, decimal: str | None = None
) -> tuple[ColumnFormat, tuple[Remark, ...]]:
    """How a column of `plain` is read, and what is remarkable about it."""
    if date_format is not None:
        return ColumnFormat("date", date_order=date_format), ()
    if pd.api.types.is_datetime64_any_dtype(column):
        return ColumnFormat("date"), ()
    if not is_text(column):
        if pd.api.types.is_integer_dtype(column) and (column.abs() > MOST_EXACT).any():
            return ColumnFormat("text"), (_LONG_CODES,)
        days = pd.Series(column.dropna().unique())
        if len(days) < FEWEST_DAYS or not days.between(19000101, 21001231).all():
            return ColumnFormat("number"), ()
        if (days % 1 != 0).any() or parse_dates(days.map("{:.0f}".format), "%Y%m%d").isna().any():
            return ColumnFormat("number"), ()
        remark = Remark("date-format", f"numbers such as {days[0]:.0f} were read as dates.")
        return ColumnFormat("date", date_order="%Y%m%d"), (remark,)
    places, cells = pd.factorize(column.dropna())
    distinct = fold_spaces(pd.Series(cells, dtype=object).astype(str))
    is_mark, kept = is_missing_mark(distinct), ()
    if role == "target" and not distinct[~is_mark].str.match(NUMBER).any():
        is_none = fold(distinct) == "none"  # a class, such as of mild and severe
        is_mark, kept = is_mark & ~is_none, tuple(sorted(distinct[is_none].unique()))
    remarks: list[Remark] = []
    if is_mark.any() and (named := sorted(set(distinct[is_mark]) - {""})):
        remarks.append(
            Remark("missing-marks", f"{', '.join(map(repr, named))} was read as a missing value.")
        )
    text = pd.Series(distinct.to_numpy()[places], column.dropna().index, name=column.name)
    text = text[~is_mark.to_numpy()[places]]
    if text.empty:
        return ColumnFormat("number" if column.isna().all() else "text"), tuple(remarks)
    of_values = _number_format(text, role, decimal) or _date_format(text) or _duration_format(text)
    if of_values is not None:
        return of_values[0], (*remarks, *of_values[1])
    spellings, more = _spellings(text, column)
    return ColumnFormat("text", kept=kept, spellings=spellings), (*remarks, *more)


def _number_format(
    text: pd.Series, role: Role, decimal: str | None
) -> tuple[ColumnFormat, list[Remark]] | None:
    distinct = pd.Series(text.unique(), dtype=object)
    sample = text.sample(min(SAMPLE, len(text)), random_state=0)
    if sample.str.match(NUMBER).fillna(False).mean() < 0.5:
        return None
    if distinct.str.fullmatch(r"0\d+").any() and not distinct.str.contains(r"[.,]").any():
        return ColumnFormat("text"), [
            Remark("codes", "numbers with leading zeros were read as codes, not as numbers.")
        ]
    if distinct.str.fullmatch(r"-?(?:\d{17,}|9\d{15})").any():
        return ColumnFormat("text"), [_LONG_CODES]
    styles = sorted(SEPARATORS, key=lambda marks: (marks[0] != (decimal or "."), marks[1] != ","))
    has_commas = distinct.str.contains(",", regex=False).any()
    if decimal is None and not has_commas and distinct.str.fullmatch(r"-?\d+").any():
        styles.insert(0, (",", "."))  # 1.234 next to 999
    usable = {s: parse_numbers(sample, *s).notna().mean() for s in styles}
    best = max(usable.values())
    parsed = {s: parse_numbers(distinct, *s) for s in styles if usable[s] == best}
    complete = {s: numbers for s, numbers in parsed.items() if numbers.notna().all()}
    if not complete:
        points, commas = (parse_numbers(distinct, *style) for style in ((".", ","), (",", ".")))
        if (points.notna() | commas.notna()).all():
            example = distinct[points.isna()].iloc[0], distinct[commas.isna()].iloc[0]
            raise InputError(
                f"Expected one decimal mark in the column {str(text.name)!r}, but found both "
                f"{example[0]!r} and {example[1]!r}. Mend the column, or leave it out with "
                "--exclude.",
                "mixed-decimal-marks",
            )
        style = max(parsed, key=lambda s: parsed[s].notna().sum())
        return _with_stray_text(text, distinct, parsed[style], role)
    style, numbers = next(iter(complete.items()))
    return _units(text, distinct, style, numbers, complete, role, decimal)


def _units(
    text: pd.Series,
    distinct: pd.Series,
    style: tuple[str, str],
    numbers: pd.Series,
    complete: Mapping[tuple[str, str], pd.Series],
    role: Role,
    decimal: str | None,
) -> tuple[ColumnFormat, list[Remark]] | None:
    """The format of a column in which every value is a number, with or without a unit."""
    name = str(text.name)
    units = set(units_of(distinct))
    named = units - {""}
    is_scaled = len(units) > 1 and units <= set(MULTIPLIERS)
    if len(named) > 1 and not is_scaled:
        listed = ", ".join(map(repr, sorted(named)[:5]))
        if role == "target" and (len(distinct) > FEW_CODES or len(distinct) > len(text) / 2):
            raise InputError(
                f"Expected numbers in one unit in the target {name!r}, but found the units "
                f"{listed}. Convert them to one unit.",
                "mixed-units",
            )
        return ColumnFormat("text"), [
            Remark("mixed-units", f"numbers with the units {listed} were read as text.", "warning")
        ]
    known = tuple(sorted(MULTIPLIERS if is_scaled else units if named else ()))
    shape = ColumnFormat("number", *style, scaled=is_scaled, units=known)
    example = distinct[distinct.str.contains(r"[^\d-]")].head(1).tolist() or [distinct.iloc[0]]
    read = parse_numbers(pd.Series(example, dtype=object), *style, scaled=is_scaled).iloc[0]
    remarks = [Remark("numbers-in-text", f"text such as {example[0]!r} was read as {read:.10g}.")]
    if "" in units and named and not is_scaled:
        remarks.append(
            Remark(
                "mixed-units",
                f"some numbers have the unit {named.pop()!r} and some have none; they were read as "
                "numbers of the same unit.",
                "warning",
            )
        )
    unlike = next((other for other in complete.values() if not other.equals(numbers)), None)
    if unlike is not None and decimal is None:
        row = int(np.flatnonzero((unlike != numbers).to_numpy())[0])
        remarks.append(
            Remark(
                "ambiguous-number",
                f"{distinct[row]!r} was read as {numbers[row]:g}, but may be {unlike[row]:g}; "
                f"if so, use --decimal '{',' if style[0] == '.' else '.'}'.",
                "warning",
            )
        )
    return shape, remarks


def _with_stray_text(
    text: pd.Series, distinct: pd.Series, numbers: pd.Series, role: Role
) -> tuple[ColumnFormat, list[Remark]] | None:
    """The format of a column in which some values are numbers and some are not."""
    name = str(text.name)
    stray = text[text.isin(distinct[numbers.isna()])]
    share = 1 - len(stray) / len(text)
    limit = 0.5 if role == "target" else 0.8
    first, row = stray.iloc[0], int(stray.index[0])
    if len(stray) == 1 and len(text) > 2 and role != "other":
        _refuse_edges(name, first, row, text)
    whole = numbers.dropna() % 1 == 0
    is_code = len(distinct) <= FEW_CODES and bool(whole.all())
    marks = sorted(set(fold(stray)) & LIKELY_MISSING)
    if is_code and share > 0.5 and not marks and stray.nunique() < 4:
        return ColumnFormat("text"), [
            Remark("codes", f"numbers mixed with text such as {first!r} were read as codes.")
        ]
    if share <= limit or role == "other":
        remark = Remark(
            "mostly-numbers",
            f"read as text, because {len(stray)} rows hold no number, such as {first!r}; if that "
            f"means a missing value, use --missing '{name}={first}'.",
            "warning",
        )
        return (ColumnFormat("text"), [remark]) if share > 0.5 and role != "other" else None
    option = f"--missing {stray.iloc[0]!r}"
    advice = (
        f"if {first!r} means a missing value, use {option} (missing=[{first!r}])"
        if len(marks) or stray.nunique() < 4
        else "mend the column"
    )
    more = f" (and {len(stray) - 1} more rows hold text)" if len(stray) > 1 else ""
    what = "target" if role == "target" else "column"
    raise InputError(
        f"Expected numbers in the {what} {name!r}, as in {in_percent(share, 1)} of its rows, but "
        f"row {row} holds {first!r}{more}. Mend it: {advice}, or leave the column out with "
        "--exclude.",
        "text-among-numbers",
    )


def _refuse_edges(name: str, cell: str, row: int, text: pd.Series) -> None:
    """Refuse a line of units in the first row, and a line of totals in the last."""
    if row == text.index[0] == 0:
        raise InputError(
            f"Expected numbers in the column {name!r}, but its first row holds {cell!r}. It looks "
            "like a line of units or of comments under the header: remove it.",
            "unit-row",
        )
    if row == text.index[-1] and not LIKELY_MISSING & {cell.casefold()}:
        raise InputError(
            f"Expected numbers in the column {name!r}, but its last row holds {cell!r}. If it is a "
            "line of totals or of comments, remove it.",
            "total-row",
        )


def _refuse_totals(frame: Mapping[str, pd.Series]) -> None:
    """Refuse a last row that is called a total and nothing else is, or that holds sums."""
    if sums := _columns_with_sums([*frame.values()]):
        raise InputError(
            f"Expected rows of data, but the last one holds the sums of the others in the columns "
            f"{shorten(map(repr, sums))}. Remove the line of totals.",
            "total-row",
        )
    for name, column in frame.items():
        if len(column) > 2 and is_text(column):
            last = str(column.iloc[-1]).casefold().strip(" :.")
            if last in TOTALS and (column == column.iloc[-1]).sum() == 1:
                raise InputError(
                    f"Expected rows of data, but the last one is called {column.iloc[-1]!r} in the "
                    f"column {name!r}. Remove the line of totals, or leave the column out with "
                    "--exclude.",
                    "total-row",
                )


def _columns_with_sums(columns: Sequence[pd.Series]) -> list[str]:
    """The columns whose last number is the sum of the others, if most are of at least two."""
    sums: list[str] = []
    n_numbers = 0
    for column in columns:
        if len(column) < FEWEST_SUMMED or not pd.api.types.is_numeric_dtype(column):
            continue
        numbers = np.nan_to_num(column.to_numpy(dtype=float), posinf=0, neginf=0)
        others, last = numbers[:-1], numbers[-1]
        if last and np.count_nonzero(others) > 1:
            n_numbers += 1
            largest = np.abs(others).max()
            if abs(last) > largest and abs(others.sum() - last) < largest / 1000:  # rounded
                sums.append(str(column.name))
    return sums if len(sums) > max(1, n_numbers / 2) else []


def _date_format(text: pd.Series) -> tuple[ColumnFormat, list[Remark]] | None:
    distinct = pd.Series(text.unique(), dtype=object)
    sample = text.sample(min(SAMPLE, len(text)), random_state=0)
    if sample.str.contains(r"\d").mean() < 0.8:
        return None
    if sample.str.match(ISO_DATE + r"\s*(?:[T ]?(?:Z|[-+]\d{2}(?::?\d{2})?))?$").mean() > 0.8:
        return _checked(text, distinct, "iso")
    if sample.str.match(DATE).mean() > 0.8:
        return _checked(text, distinct, _date_order(text, distinct))
    has_month = sample.str.contains(r"[A-Za-z]{3}").mean() > 0.8
    for shape in NAMED_MONTHS if has_month else ():
        if parse_dates(sample, shape).notna().mean() > 0.8:
            return _checked(text, distinct, shape)
    return None


def _date_order(text: pd.Series, distinct: pd.Series) -> str:
    """The only order of day, month and year in which all dates are valid."""
    name = str(text.name)
    parts = distinct.str.extract(DATE)
    is_date, starts_with_year = parts["a"].notna(), parts["a"].str.len() > 2
    ends_with_year = parts["c"].str.len() > 2
    if starts_with_year.any() and ends_with_year.any():
        both = distinct[starts_with_year].iloc[0], distinct[ends_with_year].iloc[0]
        raise _mixed_dates(name, both)
    orders = ["ymd"] if starts_with_year.any() else ["dmy", "mdy", "ymd"]
    if ends_with_year.any():
        orders = [order for order in orders if order != "ymd"]
    read = {order: parse_dates(distinct[is_date], order) for order in orders}
    valid = {order: dates for order, dates in read.items() if dates.notna().all()}
    if not valid:
        dates = {order: each.notna() for order, each in read.items()}
        examples = [
            distinct[is_date][~others].iloc[0] for others in dates.values() if (~others).any()
        ]
        raise _mixed_dates(name, examples)
    first, *others = valid
    for other in others:
        differs = (valid[first] != valid[other]).to_numpy()
        if differs.any():
            cell = distinct[is_date].iloc[int(np.flatnonzero(differs)[0])]
            mark = parts["mark"][is_date].iloc[0]
            short = parts["c"].str.len().max() <= 2
            shapes = [ORDERS[order].format(mark) for order in valid]
            shapes = [shape.replace("%Y", "%y") if short else shape for shape in shapes]
            readings = " or ".join(
                f"{dates.iloc[int(np.flatnonzero(differs)[0])]:%d %B %Y} "
                f"(--date-format '{name}={shape}')"
                for dates, shape in zip(valid.values(), shapes, strict=True)
            )
            raise InputError(
                f"Expected dates that can be read in one way in the column {name!r}, but {cell!r} "
                f"may be {readings}: say which (date_formats= in Python), or leave the column out.",
                "ambiguous-dates",
            )
    return first


def _mixed_dates(name: str, examples: Sequence[str]) -> InputError:
    shown = " and ".join(map(repr, dict.fromkeys((examples[0], examples[-1]))))
    return InputError(
        f"Expected dates in one format in the column {name!r}, but {shown} do not fit one order of "
        "day, month and year. Mend the column, or leave it out with --exclude.",
        "mixed-date-formats",
    )


def _checked(text: pd.Series, distinct: pd.Series, order: str) -> tuple[ColumnFormat, list[Remark]]:
    """The format, if every value is a date in it."""
    name = str(text.name)
    dates = parse_dates(distinct, order)
    if dates.isna().any():
        bad = distinct[dates.isna()].iloc[0]
        row = text.index[text == bad][0]
        raise InputError(
            f"Expected dates in the column {name!r}, as in most of its rows, but row {row} holds "
            f"{bad!r}. Mend it, say --missing {bad!r} if it means a missing value, or leave the "
            "column out with --exclude.",
            "text-among-dates",
        )
    remarks: list[Remark] = []
    if order == "iso":
        zoned = distinct.str.contains(r"(?:\d{2}:?\d{2}.*)" + ISO_ZONE) & distinct.str.contains(":")
        if zoned.any() and not zoned.all():
            raise InputError(
                f"Expected a time zone in every row of the column {name!r} or in none, but "
                f"{distinct[zoned].iloc[0]!r} has one and {distinct[~zoned].iloc[0]!r} has none.",
                "mixed-time-zones",
            )
        if zoned.any():
            remarks.append(Remark("time-zone", "times were converted to UTC."))
    else:
        shown = ORDERS.get(order, order)
        example = f"{distinct.iloc[0]!r} is {dates.iloc[0]:%d %B %Y}"
        shown = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}.get(order, shown)
        remarks.append(Remark("date-format", f"dates were read {shown}: {example}."))
    late = distinct[(dates.dt.year > LATEST_SHORT_YEAR) & ~distinct.str.contains(r"\d{4}")]
    if len(late):
        remarks.append(
            Remark(
                "two-digit-years",
                f"{late.iloc[0]!r} was read as {dates[late.index[0]]:%d %B %Y}: of years with two "
                "digits, 69 to 99 are read as 1969 to 1999. If that is wrong, write four.",
                "warning",
            )
        )
    return ColumnFormat("date", date_order=order), remarks


def _duration_format(text: pd.Series) -> tuple[ColumnFormat, list[Remark]] | None:
    distinct = pd.Series(text.unique(), dtype=object)
    if any(parse_durations(cells).isna().any() for cells in (distinct.head(SAMPLE), distinct)):
        return None
    is_short = distinct.str.fullmatch(r"-?\d+:\d{2}")
    if is_short.any() and not is_short.all():
        example = distinct[is_short].iloc[0], distinct[~is_short].iloc[0]
        raise InputError(
            f"Expected durations in one format in the column {str(text.name)!r}, but found "
            f"{example[0]!r}, hours and minutes or minutes and seconds, and {example[1]!r}. Mend "
            f"the column, or leave it out with --exclude.",
            "mixed-durations",
        )
    seconds = parse_durations(distinct.head(1)).iloc[0]
    remark = Remark(
        "durations", f"{distinct.iloc[0]!r} was read as a duration of {seconds:g} seconds."
    )
    return ColumnFormat("number", durations=True), [remark]


def _spellings(text: pd.Series, column: pd.Series) -> tuple[dict[str, str], list[Remark]]:
    """Values that differ only by case or spaces, or that say yes or no in several words."""
    counts = text.value_counts()
    keys = fold(pd.Series(counts.index, dtype=object))
    words = set(keys)
    remarks: list[Remark] = []
    spellings: dict[str, str] = {}
    if words <= TRUE | FALSE and (len(words) > 2 or (words & TRUE and words & FALSE)):
        for side in (TRUE, FALSE):  # new rows may have other words
            name = next((str(value) for value in counts.index if value.casefold() in side), None)
            if name is not None:
                spellings |= dict.fromkeys(sorted(side), name)
    elif len(words) < len(counts):
        values = pd.Series(counts.index, dtype=object)[keys.duplicated(keep=False)]
        for key, names in values.groupby(keys):
            if len(str(key)) >= SHORTEST_WORD or words <= TRUE | FALSE:
                spellings[str(key)] = str(names.iloc[0])  # the most frequent
            else:
                listed = " and ".join(map(repr, names))
                remarks.append(
                    Remark("case-differs", f"{listed} differ only by case; they are kept apart.")
                )
    raw = column.dropna().astype(str)
    merged = pd.DataFrame({"raw": raw.unique()})
    merged["value"] = fold_spaces(merged["raw"])
    folded = fold(merged["value"])
    merged["value"] = merged["value"].where(~folded.isin(spellings), folded.map(spellings))
    merged = merged[merged["value"].duplicated(keep=False)]
    several = [(value, names["raw"]) for value, names in merged.groupby("value")]
    if several:
        listed = "; ".join(
            f"{', '.join(map(repr, sorted(names)[:6]))} as {value!r}"
            for value, names in several[:3]
        )
        remarks.append(Remark("spellings", f"several spellings were read as one value: {listed}."))
    answers = [{word for word in words & side if len(word) > 1} for side in (TRUE, FALSE)]
    others = words - TRUE - FALSE if all(answers) else set()
    marks = [value for value in counts.index if value.casefold() in LIKELY_MISSING]
    if not marks and len(others) == 1:  # neither yes nor no
        marks = [value for value in counts.index if value.casefold() in others]
    if marks:
        listed = ", ".join(map(repr, marks))
        given = " ".join(f"--missing {shlex.quote(mark)}" for mark in marks[:4])
        remarks.append(
            Remark(
                "likely-missing",
                f"{listed} may mean a missing value ({counts[marks].sum()} rows); if it does, use "
                f"{given}.",
                "warning",
            )
        )
    return spellings, remarks


def is_saved_index(name: str, column: pd.Series) -> bool:
    """Whether a column is a row index that was saved with the table."""
    if not pd.api.types.is_integer_dtype(column):
        return False
    if name in ("index", "level_0", "X", "X1", "...1"):  # of pandas, R and readr
        numbers = column.to_numpy() - np.arange(len(column))
        return bool(numbers[0] in (0, 1) and (numbers == numbers[0]).all())
    return name == "" or name.startswith(("Unnamed: ", "__index_level_", "column 1 (no name)"))


def _sentinel_remarks(name: str, column: pd.Series) -> tuple[Remark, ...]:
    """Remarks on a repeated extreme value, such as -1 or 9999, that may mean a missing value."""
    known = column.dropna()
    is_date = pd.api.types.is_datetime64_any_dtype(known)
    if len(known) < 2 or not (is_date or pd.api.types.is_numeric_dtype(known)):
        return ()
    remarks: list[Remark] = []
    for edge in {known.min(), known.max()}:
        is_edge = known == edge
        if is_edge.sum() < 2 and not (is_date and edge.year == 9999):
            continue
        others = known[~is_edge]
        shown = f"{edge:%Y-%m-%d}" if is_date else f"{edge:.10g}"
        if is_date:
            is_likely = edge.year == 9999 or shown in FIRST_DAYS
        else:
            is_likely = len(known) > 19 and _is_sentinel(float(edge), others)
        if is_likely:
            rest = "there is no other value"
            if len(others):
                low, high = others.min(), others.max()
                rest = f"all other values lie between {low:g} and {high:g}"
                if is_date:
                    rest = f"the others are from {low:%Y-%m-%d} to {high:%Y-%m-%d}"
            text = (
                f"{shown} ({len(known) - len(others)} rows) may mean a missing value: {rest}. If "
                f"it does, use --missing '{name}={shown}'."
            )
            remarks.append(Remark("likely-missing", text, "warning"))
    if not is_date and (infinite := int(np.isinf(known.astype(float)).sum())):
        remarks.append(
            Remark("infinite", f"{infinite} infinite values are missing values.", "warning")
        )
    return tuple(remarks)


def _is_sentinel(edge: float, others: pd.Series) -> bool:
    """Whether a repeated extreme value may mean a missing one.

    -1, digits that are all 8 or all 9, or a limit of 16 or 32 bits, apart from the other values;
    or any number a hundred times farther away from them than they are from each other.
    """
    low, high = float(others.min()), float(others.max())
    if not (np.isfinite(edge) and low < high):
        return False
    digits = set(f"{abs(edge):g}") - {"."}
    is_named = digits in ({"8"}, {"9"}) or abs(edge) in (2**15, 2**15 - 1, 2**31, 2**31 - 1)
    if edge < 0 <= low and (is_named or edge == -1):
        return True
    gap = max(low - edge, edge - high)
    return gap > high - low if is_named else gap > 100 * (high - low)


def marks_by_column(
    columns: Sequence[str], missing: Collection[str], date_formats: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """The values of each column that mean a missing value."""
    marks: dict[str, list[str]] = {name: [] for name in columns}
    unknown = [("a date format", name) for name in date_formats if name not in marks]
    for mark in map(str, missing):
        name, equals, value = mark.rpartition("=")
        if name not in marks and mark.partition("=")[0] in marks:
            name, equals, value = mark.partition("=")  # a mark such as <=
        if equals and name in marks:
            marks[name].append(value.strip())
        elif equals and name and name not in ("<", ">", "!"):
            unknown.append(("a missing mark", name))
        else:
            for entries in marks.values():
                entries.append(mark.strip())
    for what, name in unknown:
        raise InputError(
            f"Expected {what} for a column of the table, but there is no column {name!r} (or it "
            "is left out).",
            "missing-column",
        )
    return {name: tuple(entries) for name, entries in marks.items()}


def notes_on_marks(
    table: pd.DataFrame, missing: Collection[str], date_formats: Collection[str]
) -> Iterator[DataNote]:
    """A note on each missing mark that no cell of a table holds."""
    for mark in missing:
        marks = marks_by_column(list(map(str, table.columns)), [mark], date_formats)
        if not any(
            (without_marks(column, marks[name]).isna() & column.notna()).any()
            for name in marks
            if marks[name]
            for column in [table[name]]
        ):
            text = f"No cell holds the missing mark {str(mark)!r} of --missing. Check its spelling."
            yield DataNote("unused-mark", text, "warning")


def _for(marks: Mapping[str, tuple[str, ...]], names: Collection[str]) -> list[str]:
    return [f"{name}={mark}" for name in names for mark in marks[name]]
