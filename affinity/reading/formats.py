"""Column formats: how the cells of a column are read as numbers, dates, durations or text."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from affinity.errors import InputError

ReadAs = Literal["number", "date", "text"]

MISSING = {
    *("", "NA", "na", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-nan", "NaT", "nil"),
    *("NULL", "Null", "null", "None", "none", "NONE", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!"),
    *("\\N", "(null)", "#NAME?", "#NULL!", "#SPILL!", "#CALC!"),
}
"""Texts that mean a missing value wherever they stand."""
LIKELY_MISSING = {
    *("?", "-", "--", "---", ".", "..", "...", "*", "#", "n.a.", "n.a", "n. a.", "tbd"),
    *("none", "unknown", "missing", "not available", "not applicable", "not known", "not asked"),
    *("no answer", "no response", "no data", "refused", "don't know", "not specified", "blank"),
    *("(blank)", "empty", "(empty)", "undefined", "unspecified"),
    *("k.a.", "k. a.", "k.a", "keine angabe", "unbekannt", "fehlt", "inconnu", "non renseigné"),
    *("desconocido", "sin datos", "s/d", "desconhecido", "sconosciuto", "onbekend", "okänd"),
    *("ukjent", "ukendt", "неизвестно", "нет данных", "不明", "未知"),
}
"""Texts that may mean a missing value; they are named, and `--missing` takes them out."""
TRUE = {
    *("true", "yes", "y", "t", "1", "on", "ja", "wahr", "oui", "vrai", "si", "sí", "sim", "da"),
    *("да", "так", "tak", "ano", "igen", "evet", "ya", "kyllä", "jah", "ναι", "はい", "是", "예"),  # noqa: RUF001
    *("sì", "verdadero", "verdadeiro", "vero", "waar", "sant", "prawda", "истина"),
}
FALSE = {
    *("false", "no", "n", "f", "0", "off", "nein", "falsch", "non", "faux", "não", "nu", "nee"),
    *("нет", "ні", "nie", "ne", "nem", "hayır", "tidak", "ei", "nej", "όχι", "いいえ", "否"),  # noqa: RUF001
    *("아니요", "falso", "onwaar", "falskt", "fałsz", "ложь"),
}
"""Words for yes and no, in several languages; read as such only if all values are among them."""
SHORTEST_WORD = 3  # from this many letters on, case does not tell values apart
MOST_EXACT = 2**53  # larger whole numbers are codes: as floats, neighbouring ones would be equal
MULTIPLIERS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "bn": 1e9, "B": 1e9}
CURRENCY = r"(?:[$€£¥₹₽₩₺฿]|US\$|USD|EUR|GBP|CHF|JPY|INR|CAD|AUD|CNY|SEK|NOK|DKK|PLN|BRL|R\$)"
NUMBER = (
    rf"^(?P<open>\()?\s*(?P<sign>[-+])?\s*(?P<prefix>{CURRENCY})?\s*(?P<sign2>[-+])?"
    "(?P<digits>[.,]?\\d(?:[\\d.,'\u2019 ]*\\d)?[.,]?(?:[eE][-+]?\\d+)?)"
    r"\s*(?P<unit>[%‰°$€£¥₹₽₩₺฿µ]?(?:[^\W\d_][^\d()]{0,11})?)\s*(?P<close>\))?(?P<minus>-)?$"
)
SEPARATORS = {(".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'")}
"""Decimal mark and thousands mark, as they occur together."""
DATE = (
    r"^(?=\d{4}\D|\d{1,2}[-/. ]\d{1,2}[-/. ](?:\d{4}|\d{2})(?:\D|$))"
    r"(?P<a>\d{1,4})(?P<mark>[-/. ])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{4}|\d{1,2})(?:[T, ]+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d+)?))?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[-+]\d{2}:?\d{2})?)?$"
)
ISO_DATE = r"^\d{4}-\d{2}(?:-\d{2}(?:[T ]\d{2}(?::?\d{2}(?::?\d{2}(?:[.,]\d+)?)?)?)?)?"
ISO_ZONE = r"(?:Z|[-+]\d{2}(?::?\d{2})?)$"
NAMED_MONTHS = (
    *(
        f"{date}{time}"
        for date in ("%d %b %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y")
        for time in ("", " %H:%M", " %H:%M:%S")
    ),
    *("%d%b%Y", "%d%b%Y:%H:%M:%S", "%b %Y", "%b-%Y"),  # SAS and Stata; whole months
)
"""Formats of dates with the English name of a month, as `_short_months` shortens it."""
ORDERS = {"dmy": "%d{0}%m{0}%Y", "mdy": "%m{0}%d{0}%Y", "ymd": "%Y{0}%m{0}%d"}
DURATION = r"^-?(?:\d+ days?,? )?\d{1,3}:\d{2}(?::\d{2}(?:\.\d+)?)?$"


@dataclass(frozen=True)
class ColumnFormat:
    """How a column is read; applied to new rows, it reads them in the same way."""

    read_as: ReadAs  # true, false and durations are numbers, too
    decimal: str = "."
    thousands: str = ""  # mark between groups of digits; empty: none
    scaled: bool = False  # the letters k, M, B and bn multiply a number
    units: tuple[str, ...] = ()  # of numbers, such as kg or %; empty: none has one
    durations: bool = False  # such as 1:30:00, read as seconds
    # "dmy", "mdy", "ymd", "iso" (ISO 8601) or a format of `datetime.strptime`
    date_order: str = "iso"
    missing: tuple[str, ...] = ()  # further values that mean a missing value
    kept: tuple[str, ...] = ()  # values that would mean a missing value elsewhere
    # spellings (see `fold`) that are read as one value
    spellings: Mapping[str, str] = field(default_factory=dict[str, str])
    # of an ordered category, lowest first; as numbers they are 0, 1, 2, ...
    levels: tuple[str, ...] = ()

    def __call__(self, column: pd.Series) -> pd.Series:
        """The column as floats, dates (UTC, without a zone) or text."""
        column = without_marks(plain(column), self.missing)
        if self.read_as == "date" and pd.api.types.is_datetime64_any_dtype(column):
            return column
        if self.read_as == "number" and pd.api.types.is_numeric_dtype(column):
            return column.astype(float)
        if pd.api.types.is_float_dtype(column):  # 20230131, or a code
            column = column.map(lambda number: str(plain_label(number)), na_action="ignore")
        places, cells = pd.factorize(column)  # every distinct cell is read once
        text = fold_spaces(pd.Series(cells, dtype=object).astype(str))
        if not self.levels:  # a level may be called "none"
            text = text.where(~is_missing_mark(text) | text.isin(self.kept), None)
        values = self._read(text.dropna()).reindex(text.index)

        def refuse(is_bad: pd.Series, expected: str, code: str) -> None:
            """Raise an error that names the first row with one of these cells."""
            bad = int(np.flatnonzero(is_bad)[0])
            row = column.index[int(np.flatnonzero(places == bad)[0])]
            raise InputError(
                f"Expected {expected} in the column {str(column.name)!r}, but row {row} holds "
                f"{text[bad]!r}. Leave the cell empty if the value is missing.",
                code,
            )

        unreadable = text.notna() & values.isna()
        if unreadable.any():
            expected = f"one of the levels {self.levels}" if self.levels else f"{self.read_as}s"
            code = "text-among-numbers" if self.read_as == "number" else "text-among-dates"
            refuse(unreadable, expected, code)
        if self.read_as == "number" and not (self.levels or self.durations):
            is_other = text.notna() & ~units_of(text).isin({"", *self.units})
            if is_other.any():
                unit = f"with the unit {self.units[0]!r}" if self.units else "without a unit"
                refuse(is_other, f"numbers {unit}", "mixed-units")
        read = values.reindex(places).set_axis(column.index)
        if self.read_as == "text":
            read = read.astype(object).where(read.notna(), None)
        read.name = column.name
        return read

    def lacks_units(self, column: pd.Series) -> bool:
        """Whether numbers have no unit here, although all had one when the format was found."""
        if not self.units or "" in self.units:
            return False
        cells = plain(column).dropna()
        return bool((units_of(cells.astype(str)) == "").any())

    def _read(self, text: pd.Series) -> pd.Series:
        if self.levels and self.read_as == "number":
            return text.map({level: float(place) for place, level in enumerate(self.levels)})
        if self.read_as == "text":
            folded = fold(text)
            return text.where(~folded.isin(self.spellings), folded.map(self.spellings))
        if self.read_as == "date":
            return parse_dates(text, self.date_order)
        if self.durations:
            return parse_durations(text)
        return parse_numbers(text, self.decimal, self.thousands, self.scaled)


def plain(column: pd.Series) -> pd.Series:
    """The column without categories, zones, periods, decimals and other special types."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.cat.categories
        is_number = pd.api.types.is_integer_dtype(categories)  # of which a gap is none
        column = column.astype(float if is_number else categories.dtype)
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    if pd.api.types.is_complex_dtype(column):
        _refuse(column, "complex numbers", column.iloc[0])
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        if not pd.api.types.is_extension_array_dtype(column):
            return column
        if pd.api.types.is_integer_dtype(column) and (column.abs() > MOST_EXACT).any():
            return column.astype(object).map(str, na_action="ignore").where(column.notna(), None)
        return column.astype(float)
    if pd.api.types.is_timedelta64_dtype(column):
        return column.dt.total_seconds()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return column.dt.tz_convert("UTC").dt.tz_localize(None)
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype(object).where(column.notna(), None)
    return _plain_objects(column.astype(object))


def ordered_levels(column: pd.Series) -> tuple[str, ...]:
    """The levels of an ordered category, lowest first; none for other columns."""
    if not isinstance(column.dtype, pd.CategoricalDtype) or not column.cat.ordered:
        return ()
    names = [str(plain_label(level)) for level in column.cat.categories]
    return tuple(fold_spaces(pd.Series(names, dtype=object)))


def plain_label(label: object) -> object:
    """A label as it is shown: whole numbers without a decimal point."""
    label = label.item() if isinstance(label, np.generic) else label
    return int(label) if isinstance(label, float) and label.is_integer() else label


def names_of(column: pd.Series) -> pd.Series:
    """The values as text; whole numbers without a decimal point."""
    if not pd.api.types.is_float_dtype(column):
        return column.astype(str)
    return column.map(lambda number: str(plain_label(number)))


def _plain_objects(column: pd.Series) -> pd.Series:
    """A column of Python objects: as numbers or dates if all of them are, else as text."""
    cells = column[column.notna()]
    types = set(map(type, cells))
    names = {each.__name__ for each in types}
    if nested := tuple(t for t in types if issubclass(t, list | tuple | dict | set | np.ndarray)):
        example = next(cell for cell in cells if isinstance(cell, nested))
        _refuse(column, "lists or mappings", example)
    if types == {str} or not types:
        return column.where(column.notna(), None)
    if types == {bool} or types == {np.bool_}:
        return column.astype(object).where(column.notna(), None).map({True: 1.0, False: 0.0})
    if names <= {"datetime", "date", "Timestamp", "datetime64"}:
        return pd.to_datetime(column, utc=True).dt.tz_localize(None)
    if names <= {"timedelta", "Timedelta"}:
        return pd.to_timedelta(column).dt.total_seconds()
    if any(issubclass(each, complex | np.complexfloating) for each in types):
        _refuse(column, "complex numbers", cells.iloc[0])
    if types == {bytes}:
        return column.map(lambda cell: cell.decode(errors="replace"), na_action="ignore")
    is_long = types == {int} and bool((cells.abs() > MOST_EXACT).any())
    if str not in types and bytes not in types and not is_long:
        try:
            return pd.to_numeric(column.astype(float))
        except (TypeError, ValueError):
            pass
    return cells.astype(str).reindex(column.index).astype(object).where(column.notna(), None)


def without_marks(column: pd.Series, marks: tuple[str, ...]) -> pd.Series:
    """The column without the values that mean a missing value."""
    if not marks:
        return column
    if pd.api.types.is_datetime64_any_dtype(column):
        return column.where(
            ~column.isin(pd.to_datetime(pd.Series(marks), errors="coerce").dropna())
        )
    if pd.api.types.is_numeric_dtype(column):
        numbers = pd.to_numeric(pd.Series(marks), errors="coerce").dropna()
        return column.astype(float).where(~column.astype(float).isin(numbers))
    places, texts = pd.factorize(column.map(lambda cell: cell if isinstance(cell, str) else None))
    cells = pd.Series(texts, dtype=object)
    folded = fold_spaces(pd.Series(marks, dtype=object))  # as notes show them
    is_mark = cells.str.strip().isin(marks) | fold_spaces(cells).isin(folded)
    return column.where(~np.append(is_mark, False)[places], None)  # place -1: no text


def is_text(column: pd.Series) -> bool:
    """Whether the cells are text or other objects."""
    return column.dtype == object or isinstance(column.dtype, pd.StringDtype)


def fold_spaces(text: pd.Series) -> pd.Series:
    """Text without spaces or quotes around it, and one way to write spaces, minus and digits."""
    text = text.astype(object)
    if not text.map(str.isascii, na_action="ignore").eq(True).all():
        text = text.map(_fold_unicode, na_action="ignore")
    text = text.str.replace(r"\s+", " ", regex=True).str.strip()
    return text.str.replace(r"""^=?(["'])([^"']*)\1$""", r"\2", regex=True)


def _fold_unicode(text: str) -> str:
    """Composed letters, spaces, dashes and digits as in ASCII, and no invisible characters."""
    text = re.sub("[\u2010-\u2015\u2212]", "-", unicodedata.normalize("NFC", text))
    text = re.sub("[\u200b-\u200d\u2060\ufeff]", "", text)
    return re.sub(r"[^\x00-\x7f\D]", lambda digit: str(unicodedata.decimal(digit[0])), text)


def fold(text: pd.Series) -> pd.Series:
    """Text without differences of case."""
    return text.str.casefold()


def parse_numbers(
    text: pd.Series, decimal: str = ".", thousands: str = "", scaled: bool = False
) -> pd.Series:
    """Numbers in text, with this decimal mark and thousands mark; NaN where there is none.

    A currency before or after the number, a unit after it, a sign on either side, and parentheses
    around a negative number are understood.
    """
    parts = text.str.extract(NUMBER)
    digits = parts["digits"].str.replace("\u2019", "'", regex=False)
    inner = "{2,3}" if thousands == "," else "{3}"  # India writes 1,23,456
    group = rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{inner})*{re.escape(thousands)}\d{{3}}"
    whole = rf"(?:\d+|{group})" if thousands else r"\d+"
    mark = re.escape(decimal)
    is_number = digits.str.fullmatch(rf"(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][-+]?\d+)?")
    is_paired = parts["open"].isna() == parts["close"].isna()
    cleaned = digits.str.replace(thousands, "", regex=False) if thousands else digits
    cleaned = cleaned.str.replace(decimal, ".", regex=False)
    usable = (is_number.fillna(False) & is_paired).astype(bool)
    numbers = pd.to_numeric(cleaned.where(usable), errors="coerce").astype(float)
    signs = (parts[["sign", "sign2", "minus"]] == "-").sum(axis=1) + parts["open"].notna()
    numbers = numbers.where(signs % 2 == 0, -numbers)
    is_infinite = text.str.fullmatch(r"[-+]?inf(?:inity)?", case=False).fillna(False).astype(bool)
    numbers = numbers.mask(is_infinite, np.inf).mask(is_infinite & (text.str[0] == "-"), -np.inf)
    if scaled:
        numbers = numbers * parts["unit"].fillna("").map(MULTIPLIERS)
    return numbers


def units_of(text: pd.Series) -> pd.Series:
    """The currency or unit of each number in text; an empty text for numbers without one.

    Years and year are the same unit.
    """
    parts = text.str.extract(NUMBER)
    units = parts["unit"].fillna("").str.strip().str.replace(r"(?<=[a-z]{3})s$", "", regex=True)
    return parts["prefix"].fillna("") + units


def parse_durations(text: pd.Series) -> pd.Series:
    """Seconds of durations such as 1:30 (hours and minutes), 1:30:15 or 2 days 03:00:00."""
    has_format = text.str.fullmatch(DURATION.strip("^$")).fillna(False).astype(bool)
    short = text.str.fullmatch(r"-?\d+:\d{2}").fillna(False).astype(bool)
    complete = (text + ":00").where(short, text).where(has_format)
    return pd.to_timedelta(complete, errors="coerce").dt.total_seconds()


def parse_dates(text: pd.Series, order: str) -> pd.Series:
    """Dates in text, in UTC without a zone; NaT where there is none."""
    if order == "iso":
        matched = text.where(text.str.match(ISO_DATE).fillna(False).astype(bool))
        dates = pd.to_datetime(matched, format="ISO8601", errors="coerce", utc=True)
        return dates.dt.tz_localize(None)
    if order not in ORDERS:
        dates = pd.to_datetime(
            _short_months(text) if order in NAMED_MONTHS else text,
            format=order,
            errors="coerce",
            utc=True,
        )
        return dates.dt.tz_localize(None)
    parts = text.str.extract(DATE)
    fields = {name: pd.to_numeric(parts["abc"[order.index(name)]]) for name in "ymd"}
    is_short = parts["abc"[order.index("y")]].str.len() <= 2
    year = fields["y"].where(~is_short, fields["y"] + np.where(fields["y"] < 69, 2000, 1900))
    named = {"year": year, "month": fields["m"], "day": fields["d"]}
    dates = pd.to_datetime(pd.DataFrame(named), errors="coerce")
    hour = pd.to_numeric(parts["hour"]).fillna(0)
    is_afternoon = parts["half"].str[0].str.lower() == "p"
    hour = hour.where(parts["half"].isna(), hour % 12 + 12 * is_afternoon)
    seconds = hour * 3600 + pd.to_numeric(parts["minute"]).fillna(0) * 60
    seconds += pd.to_numeric(parts["second"]).fillna(0)
    zone = parts["zone"].str.extract(r"(?P<sign>[-+])(?P<hours>\d{2}):?(?P<minutes>\d{2})")
    offset = pd.to_numeric(zone["hours"]) * 3600 + pd.to_numeric(zone["minutes"]) * 60
    seconds -= offset.where(zone["sign"] != "-", -offset).fillna(0)
    return dates + pd.to_timedelta(seconds, unit="s")


def _short_months(text: pd.Series) -> pd.Series:
    """Dates without commas, with the first three letters of the month."""
    return text.str.replace(r"([A-Za-z]{3})[a-z]*\.?,?|,", r"\1", regex=True)


def is_missing_mark(text: pd.Series) -> pd.Series:
    """Whether a text means a missing value; NA among codes of two capitals is a value (Namibia)."""
    is_mark = text.isin(MISSING)
    if is_mark.any():
        others = text[~is_mark]
        if len(others) and others.str.fullmatch("[A-Z]{2}").mean() > 0.9:
            return is_mark & (text != "NA")
    return is_mark


def _refuse(column: pd.Series, what: str, example: object) -> None:
    name = str(column.name)
    raise InputError(
        f"Expected numbers, dates or text in the column {name!r}, but it holds {what}, such as "
        f"{str(example)[:60]}. Make a column of each number, or leave it out with --exclude "
        f"{name!r} (exclude=[{name!r}]).",
        "nested-column",
    )
