"""Every row of the table of oddities in docs/tables.md is what it says."""

import datetime
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from codes import raises

from affinity.errors import InputError
from affinity.reading.cleaning import clean_table, notes_on_marks
from affinity.reading.options import ReadingOptions
from affinity.reading.source import read_source

PAGE = Path(__file__).parents[2] / "docs/tables.md"
NOW = datetime.datetime(2023, 1, 5, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))

CELLS = {
    "`1,234.50`, `12.30`": (["1,234.50", "-12.30"], [1234.5, -12.3], "numbers-in-text"),
    "`1.234,50`, `12,30`": (["1.234,50", "12,30"], [1234.5, 12.3], "numbers-in-text"),
    "`1 234,5`, `1'234.50`": (["1\u00a0234,5", "7"], [1234.5, 7.0], "numbers-in-text"),
    "`1,23,456`": (["1,23,456", "12"], [123456.0, 12.0], "numbers-in-text"),
    "`1.234` and `999`": (["1.234", "12.500", "999"], [1234.0, 12500.0, 999.0], "ambiguous-number"),
    "`1,5` and `2.25`": (["1,5", "2.25"] * 3, "mixed-decimal-marks"),
    "`1,234` and nothing that decides": (["1,234", "999"], [1234.0, 999.0], "ambiguous-number"),
    "`$12.30`, `12,30 €`, `USD 5`": (["$1,200", "-$5"], [1200.0, -5.0], "numbers-in-text"),
    "`(5.00)`, `12-`, `\u221212`": (["(5.00)", "12-", "\u22123"], [-5.0, -12.0, -3.0], None),
    "`50.1%`": (["50.1%", "3 %"], [50.1, 3.0], "numbers-in-text"),
    "`50.1%` and `0.3`": (["50.1%", "0.3"], [50.1, 0.3], "mixed-units"),
    "`12 kg`": (["12 kg", "3.5kg"], [12.0, 3.5], "numbers-in-text"),
    "`12 kg` and `300 g`": (["12 kg", "300 g"], ["12 kg", "300 g"], "mixed-units"),
    "`1 year` and `2 years`": (["1 year", "2 years"], [1.0, 2.0], "numbers-in-text"),
    "`900`, `1.2k`, `3M`": (["900", "1.2k", "3M"], [900.0, 1200.0, 3e6], "numbers-in-text"),
    "`1e3`": (["1e3", "2.5E-1"], [1000.0, 0.25], "numbers-in-text"),
    "`Decimal` objects": ([Decimal("1.5"), None], [1.5, np.nan], None),
    "`00123` in any row": (["00123", "04567"], ["00123", "04567"], "codes"),
    "Whole numbers above 2^53": ([2**60, 2**60 + 1], [str(2**60), str(2**60 + 1)], "codes"),
    "`\"12\"`, `='12'`": (['"12"', "='7'"], [12.0, 7.0], "numbers-in-text"),
    "`١٢`, `１２`": (["١٢", "１２"], [12.0, 12.0], "numbers-in-text"),  # noqa: RUF001
    "`0`, `1`, `2`, `3+`": (["0", "1", "2", "3+"] * 3, ["0", "1", "2", "3+"] * 3, "codes"),
    "`NA`, `n/a`, `#DIV/0!` among numbers": (["1.5", "NA", "#DIV/0!"], [1.5, np.nan, np.nan], None),
    "`#NULL!`, `#SPILL!` (SPSS, Excel)": (
        ["1.5", "#NULL!", "#SPILL!"],
        [1.5, np.nan, np.nan],
        None,
    ),
    "`VERDADERO`, `FALSO`": (
        ["VERDADERO", "sí", "FALSO"],
        ["VERDADERO"] * 2 + ["FALSO"],
        "spellings",
    ),
    "`NA` among two-letter codes": (["NA", "DE", "FR"], ["NA", "DE", "FR"], None),
    "`?` or `-` among numbers": (["1.5", "2.5", "?", "3.5", "4.5", "5.5"], "text-among-numbers"),
    "`?`, `not known` or `k.A.` among words": (
        ["?", "k.A.", "a"],
        ["?", "k.A.", "a"],
        "likely-missing",
    ),
    "`yes`, `no` and `not sure`": (
        ["yes", "no", "not sure"],
        ["yes", "no", "not sure"],
        "likely-missing",
    ),
    "-1 where all other numbers are not negative": ([-1, 0, 3, 5] * 5, None, "likely-missing"),
    "-9 among ages": ([-9, 18, 35, 90] * 5, None, "likely-missing"),
    "-999, 9999.99 or 1e20 far from the rest": (
        [9999.99, 0.5, 3, 2.5] * 6,
        None,
        "likely-missing",
    ),
    "`Yes`, `yes ` and `no`": (["Yes", "yes ", "Yes", "no"], ["Yes"] * 3 + ["no"], "spellings"),
    "`true`, `Y`, `1`, `FALSE`": (["Y", "Y", "1", "FALSE"], ["Y"] * 3 + ["FALSE"], "spellings"),
    "`да`, `Да` and `нет`": (["да", "да", "Да", "нет"], ["да"] * 3 + ["нет"], "spellings"),
    "`Male`, `male`": (["Male", "Male", "male"], ["Male"] * 3, "spellings"),
    "`Co`, `CO`": (["Co", "CO"], ["Co", "CO"], "case-differs"),
    "`13.01.2023` and `01.02.2023`": (
        ["13.01.2023", "01.02.2023"],
        [pd.Timestamp(2023, 1, 13), pd.Timestamp(2023, 2, 1)],
        "date-format",
    ),
    "`01/02/2023` and nothing that decides": (["01/02/2023", "03/04/2023"], "ambiguous-dates"),
    "`13/01/2023` and `01/13/2023`": (["13/01/2023", "01/13/2023"], "mixed-date-formats"),
    "`2023-01-05` and `05/01/2023`": (["2023-01-05", "05/01/2023"], "mixed-date-formats"),
    "`31.12.45`": (["31.12.45"], [pd.Timestamp(2045, 12, 31)], "two-digit-years"),
    "`Jan 5, 2023`": (["Jan 5, 2023"], [pd.Timestamp(2023, 1, 5)], "date-format"),
    "`01JAN2023`, `Jan 2023`": (
        ["01JAN2023", "15feb2023"],
        [pd.Timestamp(2023, 1, 1), pd.Timestamp(2023, 2, 15)],
        "date-format",
    ),
    "Whole numbers that are all days, as 20230131": (
        [20230131, 20230201, 20221231, 20230301, 20230302, None],
        [
            *pd.to_datetime(["2023-01-31", "2023-02-01", "2022-12-31", "2023-03-01", "2023-03-02"]),
            None,
        ],
        "date-format",
    ),
    "`2023-01-05` and `soon`": (["2023-01-05"] * 9 + ["soon"], "text-among-dates"),
    "Times with zones": ([NOW], [pd.Timestamp(2023, 1, 5, 10)], None),
    "Times with and without a zone": (
        ["2023-01-05T10:00:00Z", "2023-01-05T10:00:00"],
        "mixed-time-zones",
    ),
    "`1:30:00`, time spans": (["1:30:00", "0:00:05"], [5400.0, 5.0], "durations"),
    "`59:30` and `1:02:10`": (["59:30", "1:02:10"], "mixed-durations"),
    "`9999-12-31`, or `1900-01-01` repeatedly": (
        ["1900-01-01", "2023-01-05", "1900-01-01"],
        None,
        "likely-missing",
    ),
    "An ordered category (pandas, Arrow, polars)": (
        pd.Categorical(["none", "high", None], ["none", "low", "high"], ordered=True),
        [0.0, 2.0, np.nan],
        "ordered-levels",
    ),
    "Lists, mappings, complex numbers": ([[1, 2], [3]], "nested-column"),
    "A line of units under the header": (["kg", "1", "2", "3"], "unit-row"),
    "A line of totals at the end": (["x", "y", "y", "Total"], "total-row"),
}

FILES = {
    "`;`, tab or `|` between columns": ("a;b\n1;x\n2;y\n", "separator"),
    "Decimal commas": ("a;b\n1,25;x\n2,5;y\n", "decimal"),
    "Windows-1252, -1250 and -1251, Latin-9, KOI8-R, Shift-JIS, GB18030, Big5 and UTF-16": (
        "a,b\n1,ü\n2,é\n".encode("cp1252"),
        "encoding",
    ),
    "A byte order mark, mixed line endings": (b"\xef\xbb\xbfa,b\r\n1,x\n2,y\r", None),
    "A saved row index": (",a,b\n0,1,x\n1,2,y\n", "saved index"),
    "Comments before the header": ("# made by me\na,b\n1,x\n", InputError),
    "A title before the header": ("Report\na,b\n1,x\n2,y\n3,z\n", InputError),
    "A first line `sep=;`": ("sep=;\na;b\n1;x\n2;y\n", None),
    "Columns between spaces": ("a   b\n1   x\n2   y\n", "separator"),
    "Names of rows in front, as R's `write.table` has them": (
        '"a" "b"\n"1" 1 "x y"\n"2" 2 "y"\n',
        "separator",
    ),
    "Blank rows at the end": ("a,b\n1,x\n2,y\n,\n,\n", "blank-rows"),
    "A separator at the end of every row": ("a,b\n1,x,\n2,y,\n", None),
    "The header again among the rows": ("a,b\n1,x\na,b\n2,y\n", "repeated-header"),
    "A quote that is not closed": ('a,b\n1,"x\n' + "2,y\n" * 20, InputError),
    "Rows of different lengths": ("a,b\n1,x\n2\n", InputError),
    "Two columns of one name": ("a,b,b\n1,x,3\n2,y,4\n", "duplicate-column"),
    "A first line of numbers": ("1.5,2.5\n1,2\n", "numbers-as-names"),
}


@pytest.mark.parametrize("oddity", CELLS)
def test_cells_are_read_as_the_page_says(oddity):
    cells, *expected = CELLS[oddity]
    dtype = cells.dtype if isinstance(cells, pd.Categorical) else object
    table = pd.DataFrame({"x": pd.Series(cells, dtype=dtype)})
    if len(expected) == 1:
        with raises(expected[0]):
            clean_table(table)
        return
    values, code = expected
    clean = clean_table(table)
    if values is not None:
        pd.testing.assert_series_equal(
            clean.frame["x"], pd.Series(values), check_dtype=False, check_names=False
        )
    codes = {remark.code for remark in clean.remarks.get("x", ())}
    assert code in codes if code else not codes & {"ambiguous-number", "mixed-units"}
    again = clean.formats["x"](table["x"])
    pd.testing.assert_series_equal(again, clean.frame["x"])


@pytest.mark.parametrize("oddity", FILES)
def test_files_are_read_as_the_page_says(oddity, tmp_path):
    content, expected = FILES[oddity]
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    if expected is InputError:
        with pytest.raises(InputError):
            read_source(tmp_path / "t.csv")
        return
    raw = read_source(tmp_path / "t.csv")
    clean = clean_table(raw.frame, decimal=raw.decimal)
    if expected == "saved index":
        assert list(clean.left_out) == ["column 1 (no name)"]
    elif expected:
        assert expected in {note.code for note in raw.notes}
    if expected != "numbers-as-names":
        assert list(clean.frame)[:2] == ["a", "b"]
        assert len(clean.frame) == 2
        assert clean.frame["a"].tolist() in ([1.0, 2.0], [1.25, 2.5])
        assert clean.formats["b"].read_as == "text"


def test_the_page_lists_the_oddities_that_are_tested():
    rows = re.findall(r"^\| (.+?) \| .+ \|$", PAGE.read_text().partition("## Oddities")[2], re.M)
    listed = [row.replace(r"\|", "|") for row in rows if row not in ("what a table has", "---")]
    assert listed == [*CELLS, *FILES]


def test_options_decide_where_a_table_can_be_read_in_two_ways(tmp_path):
    days = pd.DataFrame({"day": ["01/02/2023", "03/04/2023"]})
    clean = clean_table(days, date_formats={"day": "%m/%d/%Y"})
    assert clean.frame["day"].tolist() == [pd.Timestamp(2023, 1, 2), pd.Timestamp(2023, 3, 4)]
    marked = pd.DataFrame({"a": [-1, 2, 3], "b": ["-1", "?", "5.5"]})
    both = clean_table(marked, missing=["-1", "b=?"]).frame
    assert both["a"].isna().tolist() == [True, False, False]
    assert both["b"].isna().tolist() == [True, True, False]
    assert clean_table(pd.DataFrame({"a": ["1,234"]}), decimal=",").frame["a"].tolist() == [1.234]
    commas = pd.DataFrame({"a": ["1,234"], "b": ["0,5"]})
    assert clean_table(commas).frame["a"].tolist() == [1.234]
    (tmp_path / "t.txt").write_bytes("größe~b\n1~2\n".encode("cp1252"))
    options = ReadingOptions(separator="~", encoding="cp1252")
    assert list(read_source(tmp_path / "t.txt", options).frame) == ["größe", "b"]
    for bad in ({"separator": ";;"}, {"decimal": ";"}, {"encoding": "utf-88"}, {"encoding": "a\0"}):
        with raises("invalid-option"):
            ReadingOptions(**bad)


def test_new_rows_are_read_in_the_same_format():
    table = pd.DataFrame({"x": ["1.234,50", "7"], "y": ["Yes", "yes "], "day": ["13/01/2023"] * 2})
    clean = clean_table(table)
    assert clean.formats["x"](pd.Series(["2.000"])).tolist() == [2000.0]
    assert clean.formats["y"](pd.Series(["YES", "never"])).tolist() == ["Yes", "never"]
    assert clean.formats["day"](pd.Series(["02/01/2023"]))[0] == pd.Timestamp(2023, 1, 2)
    with raises("text-among-numbers"):
        clean.formats["x"](pd.Series(["1.5"], name="x"))
    with raises("text-among-dates"):
        clean.formats["day"](pd.Series(["01/13/2023"], name="day"))


@pytest.mark.parametrize("other", ["05/01/2023", "5.1.2023"])
def test_dates_with_the_year_at_either_end_are_refused(other):
    with raises("mixed-date-formats"):
        clean_table(pd.DataFrame({"day": ["2023-01-05", "2023-01-06", other, other]}))


def test_years_of_two_digits_that_may_be_of_the_last_century_are_warned_of():
    codes = {
        days: {remark.code for remark in clean_table(pd.DataFrame({"x": list(days)})).remarks["x"]}
        for days in (
            ("31.12.45", "31.12.46"),
            ("31.12.2045", "31.12.2046"),
            ("31.12.98", "31.12.99"),
            ("28.02.23", "01.03.23", "15.12.32"),
            ("31-Dec-45", "31-Dec-46"),
        )
    }
    assert [days[0] for days, found in codes.items() if "two-digit-years" in found] == [
        "31.12.45",
        "31-Dec-45",
    ]


@pytest.mark.parametrize("mark", ["\u2013", "\u2014", "keine Angabe", "k.A.", "n. a.", "green"])
def test_words_and_dashes_that_may_mean_a_missing_value_are_named(mark):
    cells = pd.DataFrame({"x": ["red", "blue", mark] * 9})
    remarks = clean_table(cells).remarks.get("x", ())
    assert ({remark.code for remark in remarks} == {"likely-missing"}) == (mark != "green")


@pytest.mark.parametrize(
    ("cells", "is_named"),
    [
        (("yes", "no", "not sure"), True),
        (("ja", "nein", "vielleicht"), True),
        (("yes", "no", "perhaps", "never"), False),
        (("t", "n", "m"), False),  # stages of a tumour
        (("0", "1", "3+"), False),
    ],
)
def test_a_third_answer_next_to_yes_and_no_is_named(cells, is_named):
    remarks = clean_table(pd.DataFrame({"x": list(cells) * 9})).remarks.get("x", ())
    assert ("likely-missing" in {remark.code for remark in remarks}) == is_named


def test_a_missing_mark_is_found_as_notes_spell_it():
    cells = pd.DataFrame({"x": ["1.5", "k.\u00a0 A.", "\u2013", "2.5"] * 9})
    clean = clean_table(cells, missing=["k. A.", "-"])
    assert clean.frame["x"][:4].isna().tolist() == [False, True, True, False]


def test_large_whole_numbers_next_to_missing_ones_stay_exact():
    codes = [2**60, 2**60 + 1, None, -(2**60)]
    for column in (pd.Series(codes, dtype="Int64"), pd.Series(codes, dtype=object)):
        read = clean_table(pd.DataFrame({"x": column})).frame["x"]
        assert read.dropna().tolist() == [str(code) for code in codes if code is not None]


def test_a_missing_mark_that_no_cell_holds_is_said():
    table = pd.DataFrame({"x": [-99, 1, 2], "y": ["k.\u00a0A.", "a", "b"], "z": [["p"], ["q"], []]})
    marks = ["-99", "x=-99.0", "k. A.", "y=k.A.", "-98", "x=a"]
    unused = [note.message for note in notes_on_marks(table, marks, ())]
    assert [mark for mark in marks if any(repr(mark) in text for text in unused)] == marks[3:]


def test_none_is_a_class_of_a_target_of_words_and_missing_elsewhere():
    cells = pd.DataFrame({"x": ["none", "mild", "severe", "None", "NA"] * 9})
    target, feature = clean_table(cells, ["x"]), clean_table(cells)
    assert target.frame["x"][:4].tolist() == ["none", "mild", "severe", "none"]
    assert target.frame["x"].isna().sum() == 9
    assert "likely-missing" in {remark.code for remark in target.remarks["x"]}
    assert feature.frame["x"].isna().sum() == 27
    assert clean_table(cells, ["x"], missing=["None"]).frame["x"].isna().sum() == 18
    numbers = pd.DataFrame({"x": ["1.5", "None", "2.5"] * 9})
    assert clean_table(numbers, ["x"]).frame["x"].isna().sum() == 9
