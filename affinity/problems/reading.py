"""Reading tables (CSV, also compressed, and Parquet), and checks of their columns."""

import csv
import difflib
import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pyarrow.lib import ArrowException

from affinity.errors import InputError


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table whose first line names its columns.

    Args:
        path: A file ending in ``.csv``, ``.csv.gz`` (or another compression that pandas knows),
            ``.tsv`` or ``.parquet``.

    Raises:
        InputError: If the file is missing, unreadable, truncated or empty, or if two columns
            have the same name.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise InputError(
            f"Expected a table to read at {str(path)!r}, but there is {what}.", "missing-file"
        )
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if ".parquet" in suffixes or ".pq" in suffixes:
            table = pd.read_parquet(path)
            _check_header(path, [str(name) for name in table.columns])
        else:
            separator = "\t" if ".tsv" in suffixes else ","
            header = pd.read_csv(
                path, sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False
            )
            _check_header(path, [str(name) for name in header.iloc[0]])
            table = pd.read_csv(path, sep=separator, low_memory=False)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"Could not unpack {str(path)!r} ({error}): the file is truncated or not what its name "
            "says. Fetch it again.",
            "damaged-file",
        ) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(
            f"Expected a table in {str(path)!r}, but the file is empty.", "empty-table"
        ) from error
    except (pd.errors.ParserError, UnicodeDecodeError, ArrowException, OSError, csv.Error) as error:
        raise InputError(
            f"Could not read {str(path)!r} as a table: {str(error).strip().rstrip('.')}. Expected "
            "CSV with a header line, or Parquet.",
            "unreadable-table",
        ) from error
    table.columns = [str(name) for name in table.columns]
    if table.empty:
        raise InputError(
            f"Expected rows in {str(path)!r}, but it has a header and no rows.", "empty-table"
        )
    return table


def fingerprint(table: pd.DataFrame) -> str:
    """A short hash of a table's names and values, the same wherever it was read from."""
    digest = hashlib.sha256("\n".join(map(str, table.columns)).encode())
    digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def check_column(name: str, table: pd.DataFrame) -> None:
    """Raise an error for a column that the table does not have; name the most similar one."""
    if name in table.columns:
        return
    near = difflib.get_close_matches(name, list(table.columns), n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"the columns are {shorten(table.columns)}."
    raise InputError(
        f"Expected a column named {name!r}, but there is none; {hint}", "missing-column"
    )


def shorten(names: Sequence[str] | pd.Index) -> str:
    """The first dozen names, and how many more there are.

    Example:
        >>> shorten(["depth", "edges"])
        'depth, edges'
    """
    listed = ", ".join(map(str, list(names)[:12]))
    return listed + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _check_header(path: Path, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"Expected unique column names in {str(path)!r}, but {twice} come more than once. "
            "Rename or remove them.",
            "duplicate-column",
        )
