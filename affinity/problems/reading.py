"""Reading tables: files of many formats, folders, standard input and frames of other libraries."""

import bz2
import csv
import difflib
import gzip
import hashlib
import io
import json
import lzma
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int
from pyarrow import csv as arrow_csv
from pyarrow import dataset, feather, parquet
from pyarrow import json as arrow_json

from affinity.errors import InputError
from affinity.extras import needs

from .note import DataNote

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
UNPACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": lambda data: _unpack_by_arrow(data, "zstd"),
    ".lz4": lambda data: _unpack_by_arrow(data, "lz4"),
    ".zip": lambda data: _only_member(data),
}
TEXT = {".csv", ".tsv", ".txt", ".tab", ".dat", ".psv", ""}
EXCEL = {".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"}
UNREADABLE = (
    pa.ArrowException,
    pd.errors.ParserError,
    UnicodeError,
    OSError,
    csv.Error,
    ValueError,
    KeyError,
)


@dataclass(frozen=True)
class ReadingOptions:
    """How a table is read, where it does not say so itself.

    Args:
        separator: Between the columns of a text file; found from its first lines if None.
        decimal: Decimal mark of numbers.
        encoding: Encoding of a text file; UTF-8, or found from its first bytes, if None.
        missing: Values that mean a missing value, in all columns, or in one: ``COLUMN=VALUE``.
        date_formats: Formats of `datetime.strptime` for columns of dates.

    Raises:
        InputError: If the separator or the decimal mark is not one character, or the encoding is
            not known.
    """

    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: tuple[str, ...] = ()
    date_formats: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        if isinstance(self.missing, str):
            raise InputError(
                f"Expected several missing marks, such as missing=[{self.missing!r}], but got a "
                "text.",
                "invalid-option",
            )
        if self.separator is not None and len(self.separator.replace("\\t", "\t")) != 1:
            raise InputError(
                f"Expected one character as separator, such as ';' or '\\t', but got "
                f"{self.separator!r}.",
                "invalid-option",
            )
        if self.decimal not in (None, ".", ","):
            raise InputError(
                f"Expected '.' or ',' as decimal mark, but got {self.decimal!r}.", "invalid-option"
            )
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise InputError(
                    f"Expected an encoding that Python knows, such as 'latin-1', but got "
                    f"{self.encoding!r}.",
                    "invalid-option",
                ) from error


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it was read.

    Args:
        frame: Its rows, under unique names.
        name: What it is called in reports.
        notes: What was found out while reading it.
        decimal: Decimal mark of its numbers, if it was found or given.
    """

    frame: pd.DataFrame
    name: str
    notes: tuple[DataNote, ...] = ()
    decimal: str | None = None


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a file as a table; see `read_source`."""
    return read_source(path).frame


@dataclass(frozen=True)
class DrawnRows:
    """Rows of a table, drawn at random; whole groups if there is a group column.

    Args:
        most: Largest number of rows; with groups, the last one drawn may exceed it.
        cells: Largest number of cells (rows times columns), if `most` is None.
        seed: Random seed.
        group_column: Rows with the same value are all drawn, or none of them.
    """

    most: int | None = None
    cells: int | None = None
    seed: int = 0
    group_column: str | None = None

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 1:
            raise InputError(
                f"Expected at least one row to use, but got rows={self.most}.", "out-of-range"
            )

    def __call__(
        self, n_rows: int, names: Sequence[str], values_of: Callable[[str], pd.Series]
    ) -> Int[np.ndarray, " drawn"] | None:
        """The numbers of the drawn rows, in order; None if all rows are used.

        Args:
            n_rows: Rows of the table.
            names: Its columns.
            values_of: Reads one of them.
        """
        most = self.most
        if most is None:
            most = n_rows if self.cells is None else max(1, self.cells // max(1, len(names)))
        if n_rows <= most:
            return None
        random = np.random.default_rng(self.seed)
        if self.group_column is None or self.group_column not in names:
            return np.sort(random.choice(n_rows, most, replace=False))
        numbers = pd.factorize(values_of(self.group_column), use_na_sentinel=False)[0]
        sizes = np.bincount(numbers)
        order = random.permutation(len(sizes))
        taken = order[: 1 + int(np.searchsorted(sizes[order].cumsum(), most))]
        return np.flatnonzero(np.isin(numbers, taken))


def read_source(
    source: Any, options: ReadingOptions | None = None, draw: DrawnRows | None = None
) -> RawTable:
    """Read a table from a file, a folder, standard input or an object of another library.

    Args:
        source: A file: text with a header line (CSV and the like), Parquet, Feather, Arrow, JSON
            (records or lines), Excel or Stata, also compressed; a folder of Parquet files; ``-``
            for text on standard input; or a frame of pandas, polars, Arrow or Hugging Face
            datasets, or a mapping of columns.
        options: Separator, decimal mark and encoding, where they should not be found.
        draw: The rows to keep; all if None. Parquet is read part by part, so that only the drawn
            rows take memory.

    Raises:
        InputError: If the source is missing, unreadable, truncated or empty, or if two columns
            have the same name.
    """
    options = options or ReadingOptions()
    if not isinstance(source, str | Path):
        frame = _checked(to_pandas(source), "the table")
        frame, draw_notes = _draw_from_frame(frame, draw)
        return RawTable(frame, "table", draw_notes, decimal=options.decimal)
    path = Path(source)
    is_stdin = str(source) == "-"
    if not is_stdin and not path.exists():
        raise InputError(
            f"Expected a table to read at {str(path)!r}, but there is no such file.", "missing-file"
        )
    notes: list[DataNote] = []
    try:
        if path.is_dir():
            frame = _read_parquet(_open_folder(path), draw, notes)
        elif draw is not None and path.suffix.lower() in {".parquet", ".pq"}:
            frame = _read_parquet(dataset.dataset(str(path), format="parquet"), draw, notes)
        else:
            data = sys.stdin.buffer.read() if is_stdin else path.read_bytes()
            frame = _read_bytes(data, "" if is_stdin else path.name.lower(), options, notes)
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise InputError(
            f"Could not unpack {str(path)!r} ({error}): the file is truncated or not what its name "
            "says. Fetch it again.",
            "damaged-file",
        ) from error
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(_explain(str(path), error), "unreadable-table") from error
    where = "standard input" if is_stdin else str(path)
    name = "table" if is_stdin else path.name.split(".")[0] or path.name
    has_commas = any(note.code == "decimal" for note in notes)
    decimal = options.decimal or ("," if has_commas else None)
    frame, drawn = _draw_from_frame(_checked(frame, repr(where)), draw)
    return RawTable(frame, name, (*notes, *drawn), decimal)


def to_pandas(source: Any) -> pd.DataFrame:
    """A frame of any library that can give one, as one of pandas.

    Raises:
        InputError: If it is none.

    Example:
        >>> to_pandas({"a": [1, 2], "b": ["x", "y"]}).shape
        (2, 2)
    """
    if isinstance(source, pd.DataFrame):
        return source
    if _holds_tables(source):
        raise InputError(
            f"Expected one table, but got several: {sorted(map(str, source))}. Choose one of them, "
            "or join them with a column that says which is the test split (split_column=).",
            "not-a-table",
        )
    try:
        if isinstance(source, pa.Table | pa.RecordBatch):
            return _from_arrow(source)
        if hasattr(source, "collect") and hasattr(source, "lazy"):  # a lazy frame of polars
            source = source.collect()
        if hasattr(source, "__arrow_c_stream__"):
            return _from_arrow(pa.table(source))
        if hasattr(source, "to_pandas"):
            return pd.DataFrame(source.to_pandas())
        if hasattr(source, "detach"):  # a tensor
            source = source.detach().cpu()
            is_exact = source.dtype.itemsize > 2 or not source.dtype.is_floating_point
            source = (source if is_exact else source.float()).numpy()
        if hasattr(source, "toarray"):  # a sparse matrix
            source = source.toarray()
        if isinstance(source, np.ma.MaskedArray):
            source = np.where(np.ma.getmaskarray(source), np.nan, source.data)
        if isinstance(source, np.ndarray | Mapping | Sequence):
            return pd.DataFrame(source)
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"Expected a table, but got {type(source).__name__}: {error}", "not-a-table"
        ) from error
    raise InputError(
        "Expected a file or a table (of pandas, polars, Arrow, Hugging Face datasets or a mapping "
        f"of columns), but got {type(source).__name__}.",
        "not-a-table",
    )


def _holds_tables(source: object) -> bool:
    """Whether a source is a mapping of tables, such as a dictionary of data sets."""
    return isinstance(source, Mapping) and any(
        hasattr(part, "to_pandas") and hasattr(part, "column_names") for part in source.values()
    )


def fingerprint(table: pd.DataFrame) -> str:
    """A short hash of a table's names and values, the same wherever it was read from."""
    digest = hashlib.sha256("\n".join(map(str, table.columns)).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def column_names(source: Any, options: ReadingOptions) -> list[str] | None:
    """The names of a file's columns, from its first bytes; None where that is not possible."""
    if not isinstance(source, str | Path) or not Path(source).is_file():
        return None
    path = Path(source)
    opened = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    kind = path.with_suffix("").suffix if opened is not open else path.suffix
    try:
        if kind.lower() in {".parquet", ".pq"} and opened is open:
            return list(map(str, parquet.read_schema(path).names))
        if kind.lower() not in TEXT - {""}:
            return None
        with opened(path, "rb") as file:
            head = file.read(1 << 20)
        lines = head[: head.rfind(b"\n") + 1] if len(head) == 1 << 20 else head
        return list(_checked(_read_text(lines, options, []), repr(str(path))).columns)
    except (InputError, EOFError, *UNREADABLE):
        return None  # reported when all of it is read


def check_column(name: str, columns: Collection[str]) -> None:
    """Raise an error for a column that a table does not have; name the most similar one."""
    if name in columns:
        return
    near = difflib.get_close_matches(name, list(columns), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {shorten(list(columns))}."
    if len(columns) == 1:
        hint = f"the only column is {next(iter(columns))!r}. If it is several, say --separator."
    raise InputError(
        f"Expected a column named {name!r}, but there is none; {hint}", "missing-column"
    )


def shorten(names: Sequence[str]) -> str:
    """The first dozen names, and how many more there are.

    Example:
        >>> shorten(["depth", "edges"])
        'depth, edges'
    """
    listed = ", ".join(map(str, list(names)[:12]))
    return listed + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _read_bytes(
    data: bytes, name: str, options: ReadingOptions, notes: list[DataNote]
) -> pd.DataFrame:
    suffix = Path(name).suffix
    if suffix in UNPACK:
        unpacked = UNPACK[suffix](data)
        return _read_bytes(unpacked, Path(name).stem, options, notes)
    if data[:4] == b"PAR1" or suffix in {".parquet", ".pq"}:
        return _from_arrow(parquet.read_table(pa.BufferReader(data)))
    if data[:6] in (b"ARROW1", b"FEA1") or suffix in {".feather", ".arrow", ".ipc"}:
        try:
            return _from_arrow(feather.read_table(pa.BufferReader(data)))
        except pa.ArrowInvalid:  # a stream, not a file
            return _from_arrow(pa.ipc.open_stream(data).read_all())
    if suffix in EXCEL:
        with needs("excel"):
            return _first_sheet(data, notes)
    if suffix in {".jsonl", ".ndjson"}:
        return _from_arrow(arrow_json.read_json(pa.BufferReader(data)))
    if suffix == ".json":
        return pd.DataFrame(json.loads(data))
    if suffix == ".dta":
        return pd.read_stata(io.BytesIO(data))
    if suffix not in TEXT:
        raise InputError(
            f"Expected CSV, Parquet, Feather, Arrow, JSON, Excel or Stata, but the name {name!r} "
            f"ends in {suffix!r}. Save the table as Parquet or CSV.",
            "unknown-format",
        )
    return _read_text(data, options, notes)


def _read_parquet(table: Any, draw: DrawnRows | None, notes: list[DataNote]) -> pd.DataFrame:
    """All rows of a data set, or those that are drawn, read batch by batch."""
    names = list(table.schema.names)
    n_rows = table.count_rows()

    def values_of(name: str) -> pd.Series:
        return table.to_table(columns=[name]).column(0).to_pandas()

    drawn = None if draw is None else draw(n_rows, names, values_of)
    if drawn is None:
        return _from_arrow(table.to_table())
    notes.append(_note_on_drawn(len(drawn), n_rows))
    batches = table.to_batches(batch_size=1 << 16, batch_readahead=1, fragment_readahead=1)
    return _from_arrow(pa.Table.from_batches(_take(batches, drawn), table.schema))


def _take(batches: Iterable[Any], drawn: Int[np.ndarray, " drawn"]) -> Iterator[Any]:
    """The drawn rows of each batch; row numbers go on from batch to batch."""
    start = 0
    for batch in batches:
        first, last = np.searchsorted(drawn, [start, start + batch.num_rows])
        if last > first:
            yield batch.take(pa.array(drawn[first:last] - start))
        start += batch.num_rows


def _draw_from_frame(
    frame: pd.DataFrame, draw: DrawnRows | None
) -> tuple[pd.DataFrame, tuple[DataNote, ...]]:
    """The drawn rows of a table that is in memory; their numbers start from 0 again."""
    if draw is None:
        return frame, ()
    drawn = draw(len(frame), list(frame.columns), frame.__getitem__)
    if drawn is None:
        return frame, ()
    note = _note_on_drawn(len(drawn), len(frame))
    return frame.iloc[drawn].reset_index(drop=True), (note,)


def _note_on_drawn(n_drawn: int, n_rows: int) -> DataNote:
    text = (
        f"{n_drawn:,} of {n_rows:,} rows were drawn at random; the others are not used. More rows "
        "(--max-rows, rows=) need more memory."
    )
    return DataNote("rows-drawn", text, value=n_drawn / n_rows)


def _open_folder(path: Path) -> Any:
    """Parquet files, also of a partitioned data set (``year=2024/...``)."""
    files = [str(file) for file in sorted(path.rglob("*.parquet")) if file.name[0] not in "._"]
    if not files:
        raise InputError(
            f"Expected Parquet files (*.parquet) in the folder {str(path)!r}, but there are none.",
            "missing-file",
        )
    schemas = [parquet.read_schema(file) for file in files]
    names = [set(schema.names) for schema in schemas]
    unlike = next((file for file, has in zip(files, names, strict=True) if has != names[0]), None)
    if unlike is not None:
        raise InputError(
            f"Expected the same columns in every file of the folder {str(path)!r}, but those of "
            f"{unlike!r} differ from those of {files[0]!r}.",
            "unlike-files",
        )
    shape = {"format": "parquet", "partitioning": "hive", "partition_base_dir": str(path)}
    partitions = dataset.dataset(files, **shape).schema
    schema = pa.unify_schemas([partitions, *schemas], promote_options="permissive")
    return dataset.dataset(files, schema=schema, **shape)


def _from_arrow(table: Any) -> pd.DataFrame:
    return table.to_pandas(ignore_metadata=True, date_as_object=False)


def _first_sheet(data: bytes, notes: list[DataNote]) -> pd.DataFrame:
    with pd.ExcelFile(io.BytesIO(data)) as book:
        names = list(map(str, book.sheet_names))
        frame = pd.read_excel(book, keep_default_na=False, na_values=[""])
    if len(names) > 1:
        text = f"The first sheet, {names[0]!r}, was read, not {shorten(names[1:])}."
        notes.append(DataNote("first-sheet", text, "warning"))
    return frame


def _unpack_by_arrow(data: bytes, compression: str) -> bytes:
    return pa.CompressedInputStream(pa.BufferReader(data), compression).read()


def _only_member(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [each for each in archive.namelist() if not each.startswith(("__MACOSX", "."))]
        members = [each for each in members if not each.endswith("/")]
        if len(members) != 1:
            raise InputError(
                f"Expected one table in the ZIP file, but it has {len(members)} files: "
                f"{shorten(members)}. Unpack the one to read.",
                "several-files",
            )
        return archive.read(members[0])


def _read_text(data: bytes, options: ReadingOptions, notes: list[DataNote]) -> pd.DataFrame:
    if not data.strip():
        raise InputError("Expected a table, but the file is empty.", "empty-table")
    encoding = options.encoding or _find_encoding(data, notes)
    data = data.decode(encoding).encode()
    head = data[:200_000].decode(errors="replace").lstrip("\ufeff")
    lines = head.splitlines() if len(data) <= 200_000 else head.splitlines()[:-1]
    if lines and lines[0].startswith(("#", "//", "%")) and len(lines) > 1:
        raise InputError(
            f"Expected the names of the columns in the first line, but it is a comment: "
            f"{lines[0][:60]!r}. Remove the lines of comments.",
            "comment-line",
        )
    separator = (options.separator or "").replace("\\t", "\t") or _find_separator(lines, notes)
    sample = [row for row in csv.reader(lines[:2000], delimiter=separator) if row]
    header, *rows = sample or [[]]
    header = _name_columns(header)
    decimal = options.decimal or _find_decimal(rows, separator, notes)
    codes = [
        name
        for number, name in enumerate(header)
        if any(_is_code(row[number]) for row in rows if number < len(row))
    ]
    if all(map(_is_decimal, header)):
        text = f"The first line, {', '.join(header[:6])}, was read as the names of the columns."
        notes.append(DataNote("numbers-as-names", text, "warning"))
    frame = _parse(data, header, _header_lines(head, separator), separator, decimal, codes)
    unnamed = [name for name in header if name.startswith("column ") and name.endswith("(no name)")]
    return frame.drop(columns=[name for name in unnamed if frame[name].isna().all()])


def _parse(
    data: bytes, names: list[str], skip: int, separator: str, decimal: str, codes: list[str]
) -> pd.DataFrame:
    def parse(use_threads: bool) -> pd.DataFrame:
        return arrow_csv.read_csv(
            pa.BufferReader(data),
            arrow_csv.ReadOptions(column_names=names, skip_rows=skip, use_threads=use_threads),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                decimal_point=decimal, column_types=dict.fromkeys(codes, pa.string())
            ),
        ).to_pandas(date_as_object=False)

    try:
        return parse(use_threads=True)
    except pa.ArrowInvalid:
        return parse(use_threads=False)  # its error names the row


def _find_encoding(data: bytes, notes: list[DataNote]) -> str:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return encoding
    is_wide = data[:1000].count(0) > 200
    start = data[:1000]
    n_control = sum(start.count(sign) for sign in set(range(32)) - set(b"\t\n\v\f\r"))
    if not is_wide and (0 in start or n_control > 0.02 * len(start)):
        raise ValueError("it is not text")
    if is_wide:
        even = data[:1000:2].count(0) > data[1:1000:2].count(0)
        encoding = "utf-16-be" if even else "utf-16-le"
    else:
        try:
            data.decode()
        except UnicodeDecodeError:
            encoding = "cp1252"
        else:
            return "utf-8"
    text = (
        f"The file is not UTF-8 and was read as {encoding}. If letters are wrong, use --encoding."
    )
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


def _is_code(cell: str) -> bool:
    """Whether a cell is a number with leading zeros, which is a code."""
    return cell.isascii() and cell.isdigit() and len(cell) > 1 and cell[0] == "0"


def _header_lines(head: str, separator: str) -> int:
    """Lines that the header takes: quoted names may have several, and blank lines come first."""
    reader = csv.reader(io.StringIO(head), delimiter=separator)
    for row in reader:
        if row:
            break
    return reader.line_num


def _name_columns(names: Sequence[str]) -> list[str]:
    """Names without spaces around them; a column without a name is named by its place."""
    return [
        name.strip() or f"column {number} (no name)" for number, name in enumerate(names, start=1)
    ]


def _checked(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis([" ".join(map(str, names)) for names in frame.columns], axis=1)
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"Expected unique column names in {where}, but {twice} come more than once. Rename or "
            "remove them.",
            "duplicate-column",
        )
    if frame.empty:
        raise InputError(
            f"Expected rows in {where}, but it has a header and no rows.", "empty-table"
        )
    return frame.set_axis(names, axis=1)


def _explain(path: str, error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    hint = ""
    if "Expected" in text and "columns, got" in text:
        hint = (
            " Every row must have as many cells as the header has names. Quote cells that hold the "
            "separator, and remove comments; or say --separator."
        )
    return f"Could not read {path!r} as a table: {text}.{hint}"
