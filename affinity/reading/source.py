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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int
from pyarrow import compute, dataset, feather, parquet
from pyarrow import json as arrow_json

from affinity.errors import InputError, check_number
from affinity.extras import needs
from affinity.words import shorten

from .formats import MOST_EXACT
from .note import DataNote
from .options import ReadingOptions
from .table_cache import cached_file, keep_table, notes_of
from .text_files import read_text, without_blank_end

UNPACK: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": partial(pa.CompressedInputStream, compression="zstd"),
    ".lz4": partial(pa.CompressedInputStream, compression="lz4"),
    ".zip": lambda file: _only_member(file),
}
"""Opens a packed file as the file that is in it."""
HEAD = 1 << 20  # bytes of a text in which the names of its columns are looked for
TEXT = {".csv", ".tsv", ".txt", ".tab", ".dat", ".psv", ""}
ARROW = {".feather", ".arrow", ".ipc"}
EXCEL = {".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"}
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
UNREADABLE = (
    pa.ArrowException,
    pd.errors.ParserError,
    UnicodeError,
    OSError,
    csv.Error,
    ValueError,
    KeyError,
)


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
        group_column: Rows with the same value are all drawn, or none of them.
    """

    most: int | None = None
    cells: int | None = None
    seed: int = 0
    group_column: str | None = None

    def __post_init__(self) -> None:
        check_number("the number of rows to use", self.most, least=1)

    def __call__(
        self, n_rows: int, names: Sequence[str], values_of: Callable[[str], pd.Series]
    ) -> Int[np.ndarray, " drawn"] | None:
        """The numbers of the drawn rows, in order; None if all rows are used."""
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
        InputError: If the source is missing, unreadable, truncated or empty.
    """
    options = options or ReadingOptions()
    if not isinstance(source, str | Path):
        notes: list[DataNote] = []
        frame = _draw_from_frame(_checked(to_pandas(source), "the table", notes), draw, notes)
        return RawTable(frame, "table", tuple(notes), decimal=options.decimal)
    path = Path(source)
    is_stdin = str(source) == "-"
    if not is_stdin and not path.exists():
        raise InputError(
            f"Expected a table to read at {str(path)!r}, but there is no such file.", "missing-file"
        )
    notes = []
    try:
        if path.is_dir():
            frame = _read_parquet(_open_folder(path), draw, notes)
        elif draw is not None and path.suffix.lower() in {".parquet", ".pq"}:
            frame = _read_parquet(dataset.dataset(str(path), format="parquet"), draw, notes)
        elif is_stdin:
            frame = _read_bytes(sys.stdin.buffer.read(), "", options, notes)
        else:
            frame = _read_file(path, options, draw, notes)
    except DAMAGED as error:
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
    decimal = "," if any(note.code == "decimal" for note in notes) else options.decimal
    frame = _draw_from_frame(_checked(frame, repr(where), notes), draw, notes)
    return RawTable(frame, name, tuple(notes), decimal)


def to_pandas(source: Any) -> pd.DataFrame:
    """A frame of any library that can give one, as one of pandas."""
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
        if class_names := _class_names(source):
            frame = source.to_pandas()
            names = {column: dict(enumerate(each)) for column, each in class_names.items()}
            return frame.assign(**{column: frame[column].map(names[column]) for column in names})
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


def _class_names(source: object) -> dict[str, list[str]]:
    """The names of the classes in columns of a Hugging Face data set that holds their numbers."""
    features = getattr(source, "features", None)
    return {
        name: feature.names
        for name, feature in (features if isinstance(features, Mapping) else {}).items()
        if hasattr(feature, "int2str")
    }


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


def column_names(
    source: Any, options: ReadingOptions, wanted: Collection[str] = ()
) -> list[str] | None:
    """The names of a file's columns, from its first bytes; None where that is not possible.

    Records of JSON may have other names in later lines: of these, the wanted ones that the text
    has are given, too. Standard input can be read once only.
    """
    if not isinstance(source, str | Path) or not Path(source).exists():
        return None
    path = Path(source)
    try:
        if path.is_dir():
            names: Sequence[object] = _open_folder(path).schema.names
        else:
            with path.open("rb") as file:
                names = _names_in(file, path.name.lower(), options, wanted)
    except (InputError, *DAMAGED, *UNREADABLE):
        return None  # reported when all of it is read
    return unique_names(list(map(str, names))) or None


def _names_in(
    file: Any, name: str, options: ReadingOptions, wanted: Collection[str]
) -> Sequence[object]:
    """The names of the columns of an open file; none where they are not at its start."""
    suffix = Path(name).suffix
    if suffix in UNPACK:
        return _names_in(UNPACK[suffix](file), Path(name).stem, options, wanted)
    if suffix in {".jsonl", ".ndjson"}:
        data = file.read()
        first = json.loads(data[: data.find(b"\n") + 1] or data)
        texts = {name: (json.dumps(name), json.dumps(name, ensure_ascii=False)) for name in wanted}
        later = [n for n, spelled in texts.items() if any(t.encode() in data for t in spelled)]
        return list(dict.fromkeys([*first, *later])) if isinstance(first, dict) else []
    if suffix in {".parquet", ".pq"}:
        return parquet.read_schema(file).names
    if suffix in ARROW:
        try:
            return pa.ipc.open_file(file).schema.names
        except pa.ArrowInvalid:  # a stream, not a file
            file.seek(0)
            return pa.ipc.open_stream(file).schema.names
    if suffix in {".xlsx", ".xlsm"}:
        with needs("excel"):
            head = pd.read_excel(file, nrows=1)
        _refuse_merged_header(head)
        return list(head)
    if suffix == ".dta":
        with pd.read_stata(file, chunksize=1) as reader:
            return list(reader.variable_labels())
    if suffix not in TEXT - {""}:
        return []
    head = file.read(HEAD)
    return list(
        read_text(head[: head.rfind(b"\n") + 1] if len(head) == HEAD else head, options, [])
    )


def check_column(name: str, columns: Collection[str]) -> None:
    """Raise an error for a column that a table does not have; name the most similar one."""
    if name in columns:
        return
    near = difflib.get_close_matches(name, list(columns), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {shorten(list(columns))}."
    if len(columns) == 1:
        hint = (
            f"the only column is {next(iter(columns))!r}. If it is several, say --separator; if it "
            "is a title, remove it."
        )
    raise InputError(
        f"Expected a column named {name!r}, but there is none; {hint}", "missing-column"
    )


def _read_file(
    path: Path, options: ReadingOptions, draw: DrawnRows | None, notes: list[DataNote]
) -> pd.DataFrame:
    """A file; a large text file from the cache, once it was converted."""
    name = path.name.lower()
    kind = Path(name).with_suffix("").suffix if Path(name).suffix in UNPACK else Path(name).suffix
    cached = None
    if kind in TEXT:
        given = [options.separator, options.decimal, options.encoding, *options.as_text]
        cached = cached_file(path, given)
    if cached is None:
        return _read_bytes(path.read_bytes(), name, options, notes)
    if (known := notes_of(cached)) is not None:
        notes += known
        return _read_parquet(dataset.dataset(str(cached), format="feather"), draw, notes)
    frame = _checked(_read_bytes(path.read_bytes(), name, options, notes), repr(str(path)), notes)
    note = DataNote(
        "converted",
        "The text was converted once: later runs on the same file read it from the user's "
        "cache folder. The environment variable AFFINITY_CACHE names another folder, or off.",
    )
    if keep_table(frame, [*notes, note], cached):
        notes.append(note)
    return frame


def _read_bytes(
    data: bytes, name: str, options: ReadingOptions, notes: list[DataNote]
) -> pd.DataFrame:
    suffix = Path(name).suffix
    if suffix in UNPACK:
        unpacked = UNPACK[suffix](io.BytesIO(data)).read()
        return _read_bytes(unpacked, Path(name).stem, options, notes)
    if data[:4] == b"PAR1" or suffix in {".parquet", ".pq"}:
        return _from_arrow(parquet.read_table(pa.BufferReader(data)))
    if data[:6] in (b"ARROW1", b"FEA1") or suffix in ARROW:
        try:
            return _from_arrow(feather.read_table(pa.BufferReader(data)))
        except pa.ArrowInvalid:  # a stream, not a file
            return _from_arrow(pa.ipc.open_stream(data).read_all())
    if suffix == ".xls" and not data.startswith((b"PK", b"\xd0\xcf", b"\x09\x08", b"<")):
        notes.append(
            DataNote("text-as-excel", "The file is text, not Excel, and was read as text.")
        )
        return read_text(data, options, notes)
    if suffix in EXCEL:
        with needs("excel"):
            return _first_sheet(data, notes)
    if suffix in {".jsonl", ".ndjson"}:
        return _read_json_lines(data)
    if suffix == ".json":
        return _read_json(data)
    if suffix == ".dta":
        return pd.read_stata(io.BytesIO(data), order_categoricals=False)
    if suffix not in TEXT:
        raise InputError(
            f"Expected CSV, Parquet, Feather, Arrow, JSON, Excel or Stata, but the name {name!r} "
            f"ends in {suffix!r}. Save the table as Parquet or CSV.",
            "unknown-format",
        )
    return read_text(data, options, notes)


def _read_json(data: bytes) -> pd.DataFrame:
    """A list of objects, also as the one list of an object, columns, or lines of objects."""
    try:
        body = json.loads(data)
    except json.JSONDecodeError:
        return _read_json_lines(data)
    if isinstance(body, dict):
        if {"columns", "data"} <= body.keys():  # pandas, orient="split"
            return pd.DataFrame(body["data"], columns=body["columns"])
        lists = [value for value in body.values() if isinstance(value, list)]
        if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]):
            return pd.DataFrame(lists[0])
    return pd.DataFrame(body)


def _read_json_lines(data: bytes) -> pd.DataFrame:
    try:
        return _from_arrow(arrow_json.read_json(pa.BufferReader(data)))
    except pa.ArrowInvalid:  # a column of several types, or of large numbers
        return pd.DataFrame(list(map(json.loads, filter(str.strip, data.decode().splitlines()))))


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
    frame: pd.DataFrame, draw: DrawnRows | None, notes: list[DataNote]
) -> pd.DataFrame:
    """The drawn rows of a table that is in memory; their numbers start from 0 again."""
    drawn = draw and draw(len(frame), list(frame.columns), frame.__getitem__)
    if drawn is None:
        return frame
    notes.append(_note_on_drawn(len(drawn), len(frame)))
    return frame.iloc[drawn].reset_index(drop=True)


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
    for place, field in enumerate(table.schema):
        column = table.column(place)
        if pa.types.is_integer(field.type) and column.null_count:  # floats would be inexact
            ends = compute.call_function("min_max", [column]).as_py()
            if max(abs(each or 0) for each in ends.values()) > MOST_EXACT:
                table = table.set_column(place, field.name, column.cast(pa.string()))
    return table.to_pandas(ignore_metadata=True, date_as_object=False)


def _first_sheet(data: bytes, notes: list[DataNote]) -> pd.DataFrame:
    with pd.ExcelFile(io.BytesIO(data)) as book:
        names = list(map(str, book.sheet_names))
        frame = pd.read_excel(book, keep_default_na=False, na_values=[""])
    _refuse_merged_header(frame)
    if len(names) > 1:
        text = f"The first sheet, {names[0]!r}, was read, not {shorten(names[1:])}."
        notes.append(DataNote("first-sheet", text, "warning"))
    return without_blank_end(frame, notes)


def _refuse_merged_header(frame: pd.DataFrame) -> None:
    """Refuse names in two rows: a cell over several columns, and one name per column below."""
    blank = [place for place, name in enumerate(frame) if str(name).startswith("Unnamed: ")]
    below = [isinstance(cell, str) for row in frame.head(1).to_numpy() for cell in row]
    is_text = sum(below) > 0.5 * len(below)
    if is_text and any(blank) and all(below[place] for place in blank if place):
        raise InputError(
            f"Expected the names of the columns in one row, but the first row has no name for "
            f"column {max(blank) + 1}, and the second row has {frame.iat[0, max(blank)]!r}. If "
            "these are names under merged cells, keep one row of names.",
            "merged-header",
        )


def _only_member(file: Any) -> Any:
    archive = zipfile.ZipFile(file)
    members = [each for each in archive.namelist() if not each.startswith(("__MACOSX", "."))]
    members = [each for each in members if not each.endswith("/")]
    if len(members) != 1:
        raise InputError(
            f"Expected one table in the ZIP file, but it has {len(members)} files: "
            f"{shorten(members)}. Unpack the one to read.",
            "several-files",
        )
    if archive.getinfo(members[0]).flag_bits & 1:
        raise InputError(
            f"Expected a ZIP file without a password, but {members[0]!r} needs one. Unpack it.",
            "encrypted-file",
        )
    return archive.open(members[0])


def _checked(frame: pd.DataFrame, where: str, notes: list[DataNote]) -> pd.DataFrame:
    """The table with unique names that are texts."""
    if isinstance(frame.columns, pd.MultiIndex):
        frame = frame.set_axis([" ".join(map(str, names)) for names in frame.columns], axis=1)
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if frame.empty:
        raise InputError(
            f"Expected rows in {where}, but it has a header and no rows.", "empty-table"
        )
    given = list(map(str, frame.columns))
    names = unique_names(given)
    for old, new in zip(given, names, strict=True):
        if old != new:
            text = f"A later column with the name {old!r} is called {new!r}."
            notes.append(DataNote("duplicate-column", text, "warning", old))
    return frame.set_axis(names, axis=1)


def unique_names(names: Sequence[str]) -> list[str]:
    """Names of which a repeated one gets its number: "note", "note (2)"."""
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique if len(set(unique)) == len(unique) else unique_names(unique)


def _explain(path: str, error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    hint = ""
    if "Expected" in text and "columns, got" in text:
        hint = (
            " Every row must have as many cells as the header has names. Quote cells that hold the "
            "separator, and remove comments; or say --separator."
        )
    return f"Could not read {path!r} as a table: {text}.{hint}"
