"""Table cache: large text files, converted to Arrow once, so that later runs read them faster."""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import feather

from .note import DataNote

LEAST_BYTES = 64 * 2**20  # smaller files are read each time
_KEY = b"affinity"
_VERSION = "2"  # raise it when text is converted in another way


def cached_file(path: Path, settings: Sequence[object]) -> Path | None:
    """Where the converted table of a text file is kept; None if it is small or the cache is off.

    The name is a digest of the content, of the settings it is read with, and of the versions of
    pyarrow and pandas. The folder is ``task-affinity`` in the user's cache folder, or that of the
    environment variable ``AFFINITY_CACHE``; ``off`` turns the cache off.
    """
    folder = os.environ.get("AFFINITY_CACHE")
    if folder == "off" or path.stat().st_size < LEAST_BYTES:
        return None
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "task-affinity"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    parts = [_VERSION, version("pyarrow"), version("pandas"), path.suffixes, *settings]
    digest.update(repr(parts).encode())
    return (Path(folder) if folder else usual) / f"{digest.hexdigest()[:32]}.arrow"


def keep_table(frame: pd.DataFrame, notes: Sequence[DataNote], file: Path) -> bool:
    """Write a converted table, readable for the user alone; False if that is not possible."""
    part = file.with_suffix(f".{os.getpid()}")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        about = json.dumps([asdict(note) for note in notes]).encode()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            table = table.replace_schema_metadata({_KEY: about})
            feather.write_feather(table, opened, compression="zstd", chunksize=1 << 16)
        os.replace(part, file)
    except (OSError, pa.ArrowException):
        with suppress(OSError):
            part.unlink(missing_ok=True)
        return False
    return True


def notes_of(file: Path) -> list[DataNote] | None:
    """What was found out when a kept table was read as text; None if none is kept."""
    try:
        with pa.memory_map(str(file)) as source:
            about = (pa.ipc.open_file(source).schema.metadata or {})[_KEY]
        return [DataNote(**note) for note in json.loads(about)]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
