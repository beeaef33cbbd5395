"""Files of many formats, folders, standard input and frames of other libraries."""

import gzip
import io
import json
import lzma
import sys
import zipfile
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from codes import raises
from pyarrow import feather

from affinity import load_table
from affinity.reading import ReadingOptions
from affinity.reading.cleaning import clean_table
from affinity.reading.source import DrawnRows, column_names, read_source

TABLE = pd.DataFrame({"a": [1.5, 2.5, None], "b": ["x", "y, z", "ü"]})


def packed(data, suffix):
    if suffix == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("t.csv", data)
        return buffer.getvalue()
    if suffix == "zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()
    return {"gz": gzip.compress, "xz": lzma.compress}[suffix](data)


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst", "zip"])
def test_packed_text_is_read_and_a_truncated_file_is_refused(suffix, tmp_path):
    data = packed(TABLE.to_csv(index=False).encode(), suffix)
    (tmp_path / f"t.csv.{suffix}").write_bytes(data)
    pd.testing.assert_frame_equal(
        read_source(tmp_path / f"t.csv.{suffix}").frame, TABLE, check_dtype=False
    )
    (tmp_path / f"cut.csv.{suffix}").write_bytes(data[: len(data) // 2])
    with raises("unreadable-table" if suffix == "zst" else "damaged-file"):
        read_source(tmp_path / f"cut.csv.{suffix}")


WRITERS = {
    "parquet": lambda path: TABLE.to_parquet(path),
    "feather": lambda path: feather.write_feather(TABLE, path),
    "jsonl": lambda path: TABLE.to_json(path, orient="records", lines=True),
    "json": lambda path: TABLE.to_json(path, orient="records"),
    "dta": lambda path: TABLE.to_stata(path, write_index=False, version=118),
    "xlsx": lambda path: TABLE.to_excel(path, index=False),
    "tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_formats_of_files_give_the_same_table(suffix, tmp_path):
    if suffix == "xlsx":
        pytest.importorskip("openpyxl")
    path = tmp_path / f"t.{suffix}"
    WRITERS[suffix](path)
    pd.testing.assert_frame_equal(read_source(path).frame, TABLE, check_dtype=False)


@pytest.mark.parametrize("suffix", sorted(WRITERS.keys() - {"json"}))
def test_names_of_columns_are_known_before_a_file_is_read(suffix, tmp_path):
    path = tmp_path / f"t.{suffix}"
    WRITERS[suffix](path)
    assert column_names(path, ReadingOptions()) == ["a", "b"]
    if suffix == "tsv":
        packed_path = tmp_path / "t.tsv.zst"
        packed_path.write_bytes(packed(path.read_bytes() + b"1\tx\n" * 10**6, "zst"))
        assert column_names(packed_path, ReadingOptions()) == ["a", "b"]


def test_names_are_checked_before_a_table_is_read(tmp_path, monkeypatch):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "b": 2}\n{"a": 2, "später": 3}\n')
    monkeypatch.setattr("affinity.problems.table.read_source", lambda *_: pytest.fail("read"))
    for options in (
        {"targets": ["a", "bb"]},
        {"targets": ["a", "b"], "reading": ReadingOptions(missing=("c=-1",))},
        {"targets": ["a", "b"], "reading": ReadingOptions(date_formats={"c": "%Y"})},
    ):
        with raises("missing-column"):
            load_table(path, **options)
    assert column_names(path, ReadingOptions(), ["später", "c"]) == ["a", "b", "später"]


def test_names_under_merged_cells_of_excel_are_refused(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["id", "vitals", None], [None, "pulse", "heat"], [1, 60, 37], [2, 61, 38]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with raises("merged-header"):
        load_table(tmp_path / "t.xlsx", targets=["pulse", "heat"])


def test_a_folder_of_parquet_files_is_one_table(tmp_path):
    for year in (2023, 2024):
        (tmp_path / f"year={year}").mkdir()
        TABLE.to_parquet(tmp_path / f"year={year}/0.parquet")
    frame = read_source(tmp_path).frame
    assert frame["year"].tolist() == [2023] * 3 + [2024] * 3
    assert frame["b"].tolist() == TABLE["b"].tolist() * 2
    TABLE.assign(a=[1, 2, 3]).to_parquet(tmp_path / "year=2023/1.parquet")
    assert len(read_source(tmp_path).frame) == 9
    TABLE.rename(columns={"a": "c"}).to_parquet(tmp_path / "year=2023/2.parquet")
    with raises("unlike-files"):
        read_source(tmp_path)


def test_standard_input_is_text(monkeypatch):
    data = io.TextIOWrapper(io.BytesIO(TABLE.to_csv(index=False, sep=";").encode()))
    monkeypatch.setattr(sys, "stdin", data)
    raw = read_source("-")
    assert raw.name == "table"
    assert raw.frame["b"].tolist() == TABLE["b"].tolist()


class OtherFrame:
    """As polars has: a stream of Arrow."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.Table.from_pandas(TABLE).__arrow_c_stream__(requested_schema)


class LazyFrame:
    """As polars has: a plan that `collect` carries out."""

    def lazy(self):
        return self

    def collect(self):
        return OtherFrame()


class ClassLabel:
    """As Hugging Face datasets have: classes as numbers."""

    names: ClassVar = ["x", "y, z", "ü"]

    def int2str(self, number):
        return self.names[number]


class DataSet:
    """As Hugging Face datasets have."""

    column_names = ("a", "b")
    features: ClassVar = {"a": None, "b": ClassLabel()}

    def to_pandas(self):
        return TABLE.assign(b=[0, 1, 2])


FRAMES = {
    "pandas": TABLE,
    "arrow": pa.Table.from_pandas(TABLE),
    "stream": OtherFrame(),
    "lazy frame": LazyFrame(),
    "data set": DataSet(),
    "mapping": TABLE.to_dict("list"),
    "records": TABLE.to_dict("records"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_other_libraries_are_tables(kind):
    pd.testing.assert_frame_equal(read_source(FRAMES[kind]).frame, TABLE, check_dtype=False)


def test_frames_of_polars_are_tables():
    polars = pytest.importorskip("polars")
    day = pd.Timestamp("2023-01-05 10:00", tz="UTC").to_pydatetime()
    frame = polars.DataFrame(
        {
            "level": polars.Series(["low", None], dtype=polars.Enum(["low", "high"])),
            "kind": polars.Series(["x", "y"], dtype=polars.Categorical),
            "price": polars.Series(["1.50", None]).cast(polars.Decimal(10, 2)),
            "took": polars.Series([1500, None], dtype=polars.Duration("ms")),
            "day": [day, None],
            "whole": [1, None],
            "on": [True, None],
        }
    )
    for source in (frame, frame.lazy()):
        table = clean_table(read_source(source).frame).frame
        assert table.iloc[0].tolist() == [0.0, "x", 1.5, 1.5, day.replace(tzinfo=None), 1.0, 1.0]
        assert table.iloc[1].isna().tolist() == [True, False, *[True] * 5]


def test_data_sets_of_hugging_face_are_tables():
    datasets = pytest.importorskip("datasets")
    table = {"a": [0.5, 1.5], "b": [1, 0]}
    kinds = {"a": datasets.Value("float64"), "b": datasets.ClassLabel(names=["no", "yes"])}
    source = datasets.Dataset.from_dict(table, features=datasets.Features(kinds))
    assert read_source(source).frame.to_dict("list") == {"a": [0.5, 1.5], "b": ["yes", "no"]}
    with raises("not-a-table"):
        read_source(datasets.DatasetDict({"train": source, "test": source}))


def test_what_is_no_table_is_refused():
    for source in (5, np.zeros((2, 2, 2)), {"a": [1], "b": [1, 2]}, iter([1])):
        with raises("not-a-table"):
            read_source(source)
    with raises("not-a-table"):
        read_source({"train": DataSet(), "test": DataSet()})


def test_a_repeated_name_gets_a_number_unless_the_column_is_used():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 4)), columns=[1, "1", "a", "b"])
    assert list(read_source(table).frame) == ["1", "1 (2)", "a", "b"]
    assert load_table(table, ["a", "b"]).notes[0].code == "duplicate-column"
    with raises("duplicate-column"):
        load_table(table, ["1", "b"])


def test_ordered_categories_are_ordinal_targets_and_numbered_features():
    random = np.random.default_rng(0)
    levels = pd.CategoricalDtype(["none", "some", "high"], ordered=True)
    table = pd.DataFrame(
        {
            "size": pd.Series(random.choice(levels.categories, 90), dtype=levels),
            "mood": pd.Series(random.choice(levels.categories, 90), dtype=levels),
            "risk": pd.Series(random.choice(["none", "high"], 90), dtype=levels),
            "stars": pd.Categorical(random.integers(1, 4, 90), [3, 2, 1], ordered=True),
        }
    )
    problem = load_table(table, ["mood", "risk", "stars"])
    assert problem.source.kinds == {"mood": "ordinal", "risk": "binary", "stars": "ordinal"}
    assert problem.encoder.classes == {
        "mood": ["none", "some", "high"],
        "risk": ["none", "high"],
        "stars": [3, 2, 1],
    }
    expected = table["size"].cat.codes.to_numpy(float)
    assert problem.encoder.features["size"].tolist() == expected.tolist()
    chosen = load_table(table, ["mood", "risk", "stars"], kinds={"mood": "classes"})
    assert chosen.encoder.classes["mood"] == ["high", "none", "some"]


def test_class_labels_of_hugging_face_keep_their_names():
    class Labels:
        names: ClassVar = ["bad", "good"]

        def int2str(self, code):
            return self.names[code]

    data = DataSet()
    data.features = {"c": Labels(), "a": None}
    data.to_pandas = lambda: TABLE.assign(c=[0, 1, None])
    assert read_source(data).frame["c"].astype(object).tolist()[:2] == ["bad", "good"]


def test_names_of_columns_may_be_numbers():
    random = np.random.default_rng(0)
    problem = load_table(random.normal(size=(60, 4)), targets=[2, 3])
    assert problem.names == ("2", "3")
    assert problem.source.features == 2


def test_excluded_columns_are_not_looked_at():
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60, 3)), columns=["a", "t", "u"])
    table["list"] = [[1, 2]] * 60
    with raises("nested-column"):
        load_table(table, ["t", "u"])
    problem = load_table(table, ["t", "u"], exclude=["list"])
    uses = {use.name: use for use in problem.source.columns}
    assert uses["list"].encoded_as == "left out"
    assert uses["a"].encoded_as == "number, standardized"
    assert uses["t"].encoded_as == "target: regression"
    with raises("excluded-and-used"):
        load_table(table, ["t", "u"], exclude=["list", "u"])


def test_a_target_of_identifiers_or_of_unreadable_numbers_is_refused():
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(60, 2)), columns=["a", "t"])
    with raises("too-many-classes"):
        load_table(table.assign(u=[f"p{number}" for number in range(60)]), ["t", "u"])
    with raises("mixed-units"):
        load_table(
            table.assign(u=[f"{n} kg" if n % 2 else f"{n} g" for n in range(60)]), ["t", "u"]
        )
    money = load_table(table.assign(u=[f"${1000 * n:,.2f}" for n in range(60)]), ["t", "u"])
    assert money.source.kinds["u"] == "regression"
    assert "numbers-in-text" in {note.code for note in money.notes}


def test_time_is_read_in_one_format_for_the_whole_column():
    days = pd.date_range("2023-01-01", periods=400).strftime("%d.%m.%Y")
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(size=(400, 3)), columns=["a", "t", "u"]).assign(day=days)
    problem = load_table(table, ["t", "u"], time_column="day")
    assert problem.encoder.test.tolist() == list(range(300, 400))
    with raises("invalid-time"):
        load_table(
            table.assign(day=table["day"].where(table.index != 7)), ["t", "u"], time_column="day"
        )


def test_rows_are_drawn_the_same_from_files_and_frames(tmp_path):
    frame = pd.DataFrame({"row": range(5000), "group": [n // 10 for n in range(5000)]})
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=700)
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (tmp_path / "t.parquet", tmp_path / "t.csv", frame):
        raw = read_source(source, draw=DrawnRows(300, seed=1))
        assert raw.frame["row"].is_monotonic_increasing
        assert list(raw.frame["row"]) == sorted(
            np.random.default_rng(1).choice(5000, 300, replace=False)
        )
        assert [note.code for note in raw.notes] == ["rows-drawn"]
        assert raw.notes[0].value == 300 / 5000
        groups = read_source(source, draw=DrawnRows(300, group_column="group")).frame["group"]
        assert set(groups.value_counts()) == {10}
        assert 290 <= len(groups) <= 310
        assert len(read_source(source, draw=DrawnRows(cells=400)).frame) == 200
        assert len(read_source(source, draw=DrawnRows(5000)).frame) == 5000
    with raises("out-of-range"):
        DrawnRows(0)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("{}", "007", "codes"),
        ("{}", "12345678901234567890", "codes"),
        ("{}", "1.234", 1234.0),
        ("{}", "2,5", 2.5),
        ("{},5", "2.25", "mixed-decimal-marks"),
        ("05/05/20{}", "13/02/2023", pd.Timestamp("2023-02-13")),
        ("05/05/20{}", "03/02/2023", "ambiguous-dates"),
        ("2023-01-{}", "2023-01-01T10:00+02:00", "mixed-time-zones"),
        ("true", "2", "codes"),
    ],
)
def test_the_last_row_decides_as_much_as_the_first(tmp_path, first, last, expected):
    rows = [f"{first.format(10 + row % 18)};{row}\n" for row in range(3000)]
    (tmp_path / "t.csv").write_text(f"a;b\n{''.join(rows)}{last};1\n")
    raw = read_source(tmp_path / "t.csv")
    if isinstance(expected, str) and expected != "codes":
        with raises(expected):
            clean_table(raw.frame, decimal=raw.decimal)
        return
    table = clean_table(raw.frame, decimal=raw.decimal)
    assert table.frame["a"].iloc[-1] == (last if expected == "codes" else expected)


def test_a_column_of_json_lines_whose_type_changes_is_read(tmp_path):
    lines = [{"a": 1, "b": "x" * 60}] * 20_000 + [{"a": "?", "b": "y"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_source(tmp_path / "t.jsonl").frame["a"].iloc[-1] == "?"


def test_sixteen_digits_beyond_exact_floats_stay_codes(tmp_path):
    path = tmp_path / "cards.csv"
    rows = [f"{9_007_199_254_740_993 + 2 * row if row % 3 else ''},{row}" for row in range(30)]
    path.write_text("card,y\n" + "\n".join(rows) + "\n")
    table = clean_table(read_source(path, ReadingOptions()).frame).frame
    assert table["card"].dropna().astype(str).str.fullmatch(r"90071992547\d{5}").all()
    assert table["card"].nunique() == 20


def test_large_whole_numbers_of_parquet_stay_exact_next_to_missing_ones(tmp_path):
    codes = [2**60, None, 2**60 + 1]
    table = pa.table({"code": pa.array(codes), "few": pa.array([1, None, 2])})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    frame = read_source(tmp_path / "t.parquet").frame
    assert frame["code"].dropna().tolist() == [str(2**60), str(2**60 + 1)]
    assert frame["few"].dropna().tolist() == [1, 2]


def test_a_name_of_two_lines_keeps_both(tmp_path):
    (tmp_path / "t.csv").write_text('"total\nprice","a, b"\n1,2\n3,4\n')
    assert list(read_source(tmp_path / "t.csv").frame) == ["total\nprice", "a, b"]


def test_columns_that_are_kept_as_text_lose_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1.50,1,true\n2,,false\n")
    frame = read_source(tmp_path / "t.csv", ReadingOptions(as_text=("a", "b", "c"))).frame
    assert frame.astype(str).to_numpy().tolist() == [["1.50", "1", "true"], ["2", "", "false"]]


ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        "\n".join(map(json.dumps, ROWS)),
        json.dumps({"count": 2, "data": ROWS}),
        pd.DataFrame(ROWS).to_json(),
        pd.DataFrame(ROWS).to_json(orient="split"),
        pd.DataFrame(ROWS).set_index("a").to_json(orient="table"),
    ],
)
def test_json_of_any_shape_is_a_table(text, tmp_path):
    (tmp_path / "t.json").write_text(text)
    assert read_source(tmp_path / "t.json").frame.to_dict("records") == ROWS


def test_text_that_is_called_excel_is_read_as_text(tmp_path):
    (tmp_path / "t.xls").write_text("a\tb\n1\tx\n2\ty\n")
    raw = read_source(tmp_path / "t.xls")
    assert raw.frame.to_dict("records") == ROWS
    assert raw.notes[0].code == "text-as-excel"


def test_damaged_and_encrypted_archives_are_refused(tmp_path):
    packed = tmp_path / "t.csv.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("t.csv", "a,b\n1,x\n")
    data = bytearray(packed.read_bytes())
    data[6] |= 1  # the flag of a password, in both headers
    data[data.index(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(data)
    with raises("encrypted-file"):
        read_source(packed)
    for name, content in (("u.csv.zip", b"PK"), ("v.csv.xz", b"none"), ("w.csv.gz", b"\x1f\x8b?")):
        (tmp_path / name).write_bytes(content)
        with raises("damaged-file"):
            load_table(tmp_path / name, targets=["a", "b"])


def test_a_last_row_of_sums_is_refused():
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(1, size=(50, 3)), columns=list("abc")).round(2)
    table["n"] = random.integers(0, 9, 50)
    totals = pd.concat([table, table[["c", "n"]].sum().round(2).to_frame().T], ignore_index=True)
    with raises("total-row"):
        clean_table(totals)
    assert len(clean_table(table).frame) == 50
    one = pd.concat([table, table[["n"]].sum().to_frame().T], ignore_index=True)
    assert len(clean_table(one).frame) == 51  # by chance, perhaps


def test_codes_with_letters_are_classes_of_a_target():
    codes = pd.DataFrame({"x": ["1st", "2nd", "3rd", "2nd"] * 5})
    clean = clean_table(codes, ["x"])
    assert clean.frame["x"].tolist() == codes["x"].tolist()
    assert [remark.code for remark in clean.remarks["x"]] == ["mixed-units"]
    with raises("mixed-units"):
        clean_table(
            pd.DataFrame({"x": [f"{n} {'kg' if n % 2 else 'g'}" for n in range(40)]}), ["x"]
        )


@pytest.mark.parametrize(("name", "first"), [("X", 1), ("...1", 1), ("index", 0)])
def test_row_numbers_that_were_saved_are_left_out(name, first):
    table = pd.DataFrame({name: np.arange(first, first + 30), "a": 1.5})
    assert list(clean_table(table).left_out) == [name]
    assert list(clean_table(table[::-1]).left_out) == []


def test_names_of_columns_are_composed(tmp_path):
    (tmp_path / "t.csv").write_text("gro\u0308\u00dfe,b\n1,2\n")
    assert list(read_source(tmp_path / "t.csv").frame) == ["gr\u00f6\u00dfe", "b"]
