"""A large text file is converted once; from the cache it is the same table."""

import gzip
import os
from pathlib import Path

import pandas as pd
import pytest

from affinity.reading import ReadingOptions
from affinity.reading.source import DrawnRows, read_source

TEXT = (
    "name;count;share;day;flag;code;seen\n"
    "Ann;1;0,5;2024-01-05;true;007;2024-01-05 10:00:00\n"
    ";;1,25;2024-02-01;;010;\n"
    "Zoë;3;;;false;;2023-12-31 23:59:59\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("affinity.reading.table_cache.LEAST_BYTES", 10)
    monkeypatch.setenv("AFFINITY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_the_cached_table_is_the_table(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(TEXT.encode()) if name.endswith("gz") else TEXT.encode())
    first = read_source(file)
    (cached,) = folder.iterdir()
    assert os.stat(cached).st_mode & 0o077 == 0  # for the user alone
    monkeypatch.setattr("affinity.reading.source._read_bytes", None)  # text is not read again
    second = read_source(file)
    pd.testing.assert_frame_equal(first.frame, second.frame)
    assert first.notes == second.notes
    assert first.decimal == second.decimal == ","
    assert {"converted", "separator", "decimal"} <= {note.code for note in second.notes}
    drawn = read_source(file, draw=DrawnRows(2, seed=1))
    monkeypatch.undo()
    monkeypatch.setenv("AFFINITY_CACHE", "off")
    expected = read_source(file, draw=DrawnRows(2, seed=1))
    pd.testing.assert_frame_equal(drawn.frame, expected.frame)
    assert "converted" not in {note.code for note in expected.notes}


def test_other_content_or_settings_are_another_table(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text(TEXT)
    read_source(file)
    text = ReadingOptions(encoding="latin-1")
    assert read_source(file, text).frame["name"][2] != "Zoë"
    file.write_text(TEXT.replace("Ann", "Eve"))
    assert read_source(file).frame["name"][0] == "Eve"
    assert len(list(folder.iterdir())) == 3


def test_a_damaged_cache_and_a_folder_without_space_are_no_error(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "table.csv"
    file.write_text(TEXT)
    read_source(file)
    (cached,) = folder.iterdir()
    cached.write_bytes(b"ARROW1")
    assert read_source(file).frame["name"][0] == "Ann"
    cached.unlink()
    folder.rmdir()
    folder.write_text("a file, not a folder")
    assert "converted" not in {note.code for note in read_source(file).notes}


@pytest.mark.usefixtures("folder")
def test_columns_that_are_kept_as_text_have_a_cached_table_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("a,b\n1,1.50\n2,2.25\n")
    for as_text, cells in (((), [1.5, 2.25]), (("b",), ["1.50", "2.25"])) * 2:
        assert read_source(file, ReadingOptions(as_text=as_text)).frame["b"].tolist() == cells
