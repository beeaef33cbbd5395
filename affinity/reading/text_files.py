"""Text files: tables as lines of cells, whose separator, decimal mark and encoding are found."""

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from affinity.errors import InputError
from affinity.words import count

from .encodings import find_encoding
from .formats import MISSING, MOST_EXACT
from .note import DataNote
from .options import ReadingOptions

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def read_text(data: bytes, options: ReadingOptions, notes: list[DataNote]) -> pd.DataFrame:
    """The table in a text with the names of its columns in the first line."""
    if not data.strip():
        raise InputError("Expected a table, but the file is empty.", "empty-table")
    data = data.decode(options.encoding or _find_encoding(data, notes)).encode()
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    head = data[:200_000].decode(errors="replace").lstrip("\ufeff")
    lines = head.splitlines() if len(data) <= 200_000 else head.splitlines()[:-1]
    if lines and (named := re.fullmatch(r'"?sep=(.)"?', lines[0].strip())):  # as Excel writes it
        options = replace(options, separator=options.separator or named[1], encoding="utf-8")
        return read_text(data.partition(b"\n")[2], options, notes)
    _refuse_comments(lines)
    separator = (options.separator or "").replace("\\t", "\t") or _find_separator(lines, notes)
    if separator == " ":  # or several of them
        in_tabs = b"\n".join(b"\t".join(line.split()) for line in data.splitlines())
        return read_text(in_tabs, replace(options, separator="\t", encoding="utf-8"), notes)
    with_ends = (f"{line}\n" for line in lines[:2000])  # quoted cells may have several lines
    header, *rows = [row for row in csv.reader(with_ends, delimiter=separator) if row] or [[]]
    if {len(row) - len(header) for row in rows} == {1}:
        if not any(row[-1].strip() for row in rows):
            header = [*header, ""]  # a separator at the end of each row
        elif separator == "\t" and len({row[0] for row in rows}) == len(rows):
            header = ["", *header]  # row names, as R writes them
    names = _name_columns(header)
    decimal = options.decimal or _find_decimal(rows, separator, notes)
    if all(map(_is_decimal, names)):
        text = f"The first line, {', '.join(names[:6])}, was read as the names of the columns."
        notes.append(DataNote("numbers-as-names", text, "warning"))
    skip = _header_lines(head, separator)
    frame = _parse(data, names, skip, separator, decimal, options.as_text)
    if data.count(b"\n") > len(frame) + 10:
        _refuse_unclosed_quote(frame, separator)
    frame = without_blank_end(_without_repeated_header(frame, notes), notes)
    unnamed = [name for name in names if name.startswith("column ") and name.endswith("(no name)")]
    return frame.drop(columns=[name for name in unnamed if frame[name].isna().all()])


def _refuse_comments(lines: Sequence[str]) -> None:
    """Refuse lines before the names of the columns."""
    if len(lines) > 1 and lines[0].startswith(("#", "//", "%")):
        raise InputError(
            f"Expected the names of the columns in the first line, but it is a comment: "
            f"{lines[0][:60]!r}. Remove the lines of comments.",
            "comment-line",
        )
    is_header = any(mark in line for line in lines[:1] for mark in SEPARATORS)
    is_header |= any(line.count('"') % 2 for line in lines[:1])  # a name of several lines
    if is_header or len(lines) < 4 or len(lines[0].split()) == len(lines[1].split()):
        return
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in csv.reader(lines[1:50], delimiter=separator) if row)
        width, often = widths.most_common(1)[0] if widths else (1, 1)
        if width > 1 and often >= 0.8 * widths.total():
            raise InputError(
                f"Expected the names of {width} columns in the first line, but it is "
                f"{lines[0][:60]!r}. If that is a title, remove it.",
                "title-line",
            )


def _refuse_unclosed_quote(frame: pd.DataFrame, separator: str) -> None:
    """Refuse a cell that holds lines of the table, because its quote is not closed."""
    width = frame.shape[1]
    for place in range(width if width > 1 else 0):
        column = frame.iloc[:, place]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
            continue
        for row, cell in column[column.astype(str).str.count("\n") > 2].items():
            inner = str(cell).splitlines()[1:-1]
            widths = [len(cells) for cells in csv.reader(inner, delimiter=separator)]
            if widths.count(width) >= 0.8 * len(widths):
                raise InputError(
                    f"Expected a quote that is closed in the same cell, but the cell of the column "
                    f"{frame.columns[place]!r} in row {row} holds {len(inner)} lines of the table: "
                    f"{str(cell)[:40]!r}... Close the quote, or remove it.",
                    "unclosed-quote",
                )


def _without_repeated_header(frame: pd.DataFrame, notes: list[DataNote]) -> pd.DataFrame:
    """The table without rows that repeat the names of its columns, as joined files have them."""
    is_header = np.ones(len(frame), dtype=bool)
    for place, name in enumerate(frame.columns):
        is_header &= (frame.iloc[:, place] == name).to_numpy(dtype=bool, na_value=False)
        if not is_header.any():
            return frame
    text = f"{int(is_header.sum())} rows that repeat the names of the columns were left out."
    notes.append(DataNote("repeated-header", text, "warning"))
    return frame[~is_header].reset_index(drop=True)


def without_blank_end(frame: pd.DataFrame, notes: list[DataNote]) -> pd.DataFrame:
    """The table without rows at its end in which every cell is blank, as Excel writes them."""
    is_blank = np.ones(len(frame), dtype=bool)
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        is_blank &= (column.isna() | (column == "")).to_numpy(dtype=bool)
        if not is_blank[-1:].any():
            return frame
    n_blank = len(frame) if is_blank.all() else int(is_blank[::-1].argmin())
    text = f"{count(n_blank, 'row')} without any value at the end of the table were left out."
    notes.append(DataNote("blank-rows", text))
    return frame.iloc[: len(frame) - n_blank]


def _parse(
    data: bytes,
    names: list[str],
    skip: int,
    separator: str,
    decimal: str,
    as_text: Collection[str],
) -> pd.DataFrame:
    places = list(map(str, range(len(names))))  # names may be repeated

    def parse(use_threads: bool, **options: Any) -> pd.DataFrame:
        return arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(column_names=places, skip_rows=skip, use_threads=use_threads),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            arrow_csv.ConvertOptions(decimal_point=decimal, **options),
        ).to_pandas(date_as_object=False)

    try:
        frame = parse(use_threads=True)
    except pa.ArrowInvalid:
        frame = parse(use_threads=False)  # its error names the row
    is_known = {place: name in as_text for place, name in zip(places, names, strict=True)}
    if numbers := [p for p in places if is_known[p] or _may_be_text(frame[p])]:
        types = dict.fromkeys(numbers, pa.string())
        texts = parse(use_threads=True, include_columns=numbers, column_types=types)
        for place in numbers:
            if is_known[place] or _is_text(texts[place], separator):
                frame[place] = texts[place]
    return frame.set_axis(names, axis=1)


def _may_be_text(column: pd.Series) -> bool:
    """Whether numbers may have lost something: whole ones, and those with up to three decimals."""
    values = column.to_numpy()
    if values.dtype.kind != "f":
        return values.dtype.kind == "i"
    known = values[np.isfinite(values)]
    return bool(((np.abs(known) > MOST_EXACT) | (np.abs(known * 1000 % 1 - 0.5) > 0.499)).all())


def _find_encoding(data: bytes, notes: list[DataNote]) -> str:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return encoding
    start = data[:1000]
    n_control = sum(start.count(sign) for sign in set(range(32)) - set(b"\t\n\v\f\r"))
    if 0 in start:  # of UTF-16, one byte of each letter of ASCII
        n_even = start[::2].count(0)
        if min(n_even, start.count(0) - n_even) or len(data) % 2:
            raise ValueError("it is not text")
        encoding, word = ("utf-16-be" if n_even else "utf-16-le"), ""
    elif n_control > 1 + 0.02 * len(start):
        raise ValueError("it is not text")
    else:
        try:
            data.decode()
        except UnicodeDecodeError:
            encoding, word = find_encoding(data)
        else:
            return "utf-8"
    example = f", which reads {word!r}" if word else ""
    text = f"The file is not UTF-8 and was read as {encoding}{example}. If not, use --encoding."
    notes.append(DataNote("encoding", text, "warning"))
    return encoding


def _find_separator(lines: Sequence[str], notes: list[DataNote]) -> str:
    """The separator that divides the first lines into the same number of columns, the most."""
    columns: dict[str, int] = {}
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in csv.reader(lines[:50], delimiter=separator) if row)
        width, often = widths.most_common(1)[0] if widths else (1, 1)
        in_header = len(next(csv.reader(lines[:1], delimiter=separator), []))
        fits = often >= 0.8 * widths.total() or in_header == width
        columns[separator] = width if fits and in_header > 1 else 1
    best = max(columns, key=lambda separator: columns[separator])
    if columns[best] == 1:  # numbers and words in columns, between any number of spaces
        in_spaces = csv.reader(lines[:50], delimiter=" ", skipinitialspace=True)
        header, *rows = [row for line in in_spaces if (row := [*filter(None, line)])] or [[]]
        widths = {len(row) - len(header) for row in rows}
        has_names = widths == {1} and len({row[0] for row in rows}) == len(rows)  # of rows, as in R
        if (widths == {0} or has_names) and len(rows) > 1 and len(header) > 1:
            notes.append(
                DataNote("separator", "Columns are separated by spaces. If not, use --separator.")
            )
            return " "
    if columns[best] > 1 and best != ",":
        text = f"Columns are separated by {SEPARATORS[best]}s. If not, use --separator."
        notes.append(DataNote("separator", text))
    return best if columns[best] > 1 else ","


def _find_decimal(rows: Sequence[Sequence[str]], separator: str, notes: list[DataNote]) -> str:
    """The decimal mark: a comma if numbers have one and none has a point."""
    cells = pd.Series([cell.strip() for row in rows for cell in row], dtype=object)
    commas = cells.str.fullmatch(r"-?(?:\d+,\d{1,2}|\d+,\d{4,}|0,\d+)").sum()
    points = cells.str.fullmatch(r"-?(?:\d+\.\d{1,2}|\d+\.\d{4,}|0\.\d+)").sum()
    if separator == "," or commas <= points:
        return "."
    notes.append(DataNote("decimal", "Numbers have a decimal comma. If not, use --decimal '.'."))
    return ","


def _is_decimal(name: str) -> bool:
    """Whether a name is a number with a decimal point, which is data rather than a name."""
    return name.replace("-", "", 1).replace(".", "", 1).isdigit() and "." in name


def _is_text(cells: pd.Series, separator: str) -> bool:
    """Whether numbers would lose something: leading zeros, many digits, or marks of thousands.

    Points before three digits, as in 1.234, are marks of thousands where other numbers have none,
    and may be where a comma does not separate the columns.
    """
    if cells.str.fullmatch(r" *(?:0[0-9]+|[0-9]{17,}|9[0-9]{15}) *").any():
        return True
    is_marked = cells.str.fullmatch(r" *-?[1-9][0-9]{0,2}(?:[.][0-9]{3})+ *")
    if not is_marked.any():
        return False
    is_small = cells.str.fullmatch(r" *-?[0-9]{1,3} *")
    fits = is_marked | is_small | cells.str.strip().isin(MISSING)
    return bool(fits.all() and (separator != "," or is_small.any()))


def _header_lines(head: str, separator: str) -> int:
    """Lines that the header takes: quoted names may have several, and blank lines come first."""
    reader = csv.reader(io.StringIO(head, newline=None), delimiter=separator)
    for row in reader:
        if row:
            break
    return reader.line_num


def _name_columns(names: Sequence[str]) -> list[str]:
    """Names without spaces around them; a column without a name is named by its place."""
    return [
        unicodedata.normalize("NFC", name.strip()) or f"column {number} (no name)"
        for number, name in enumerate(names, start=1)
    ]
