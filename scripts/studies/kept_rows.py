"""Rows of a study kept in a compressed file, which a stopped study goes on from."""

import gzip
import io
from pathlib import Path

import pandas as pd

from affinity.files import write_atomically


def read(path: Path) -> pd.DataFrame:
    """The rows; none if the file is not there."""
    return pd.read_csv(path, dtype={"network": str}) if path.exists() else pd.DataFrame()


def write(rows: pd.DataFrame, path: Path) -> None:
    """Keep the rows: whole, or as they were before."""
    text = io.StringIO()
    rows.to_csv(text, index=False)
    write_atomically(path, gzip.compress(text.getvalue().encode(), mtime=0))
