"""Preprocessing of new rows: columns have the formats of training, in other files, too."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from affinity.errors import AffinityWarning, InputError
from affinity.problems import Preprocessing, TableEncoder, load_table
from affinity.reading import ReadingOptions, read_source

N_ROWS = 200


@pytest.fixture
def fit(tmp_path):
    """A function: a text column of a table to the preprocessing that was fitted on it."""

    def fit_on(cells) -> Preprocessing:
        file, random = tmp_path / "table.csv", np.random.default_rng(0)
        columns = {"x": random.normal(size=N_ROWS), "cell": cells}
        frame = pd.DataFrame(columns).assign(a=random.integers(0, 2, N_ROWS), b=columns["x"] > 0)
        frame.to_csv(file, index=False)
        encoder = load_table(file, targets=["a", "b"]).encoder
        assert isinstance(encoder, TableEncoder)
        return encoder.fitted(torch.arange(len(encoder.development)))

    return fit_on


@pytest.fixture
def read(tmp_path):
    """A function: preprocessing and the cells of new rows to the values that are read."""

    def read_new(fitted: Preprocessing, *cells: str) -> tuple[list[object], list[str]]:
        file = tmp_path / "new.csv"
        file.write_text("\n".join(["x,cell", *(f"0.5,{cell}" for cell in cells)]))
        columns = fitted.columns
        frame = read_source(file, ReadingOptions(as_text=columns.as_text)).frame
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert fitted(frame).isfinite().all()
        codes = [w.message.code for w in caught if isinstance(w.message, AffinityWarning)]
        return columns.read(frame)["cell"].tolist(), codes

    return read_new


def alternate(*cells: str) -> list[str]:
    return [cells[row % len(cells)] for row in range(N_ROWS)]


def test_points_are_marks_of_thousands_also_where_new_rows_do_not_show_it(fit, read):
    fitted = fit([f"{row}" if row < 100 else f"{row // 100}.{row:03d}" for row in range(N_ROWS)])
    assert read(fitted, "1.234", "2.500") == ([1234, 2500], [])


@pytest.mark.parametrize("known", [("0", "1", "2", "3+"), ("001", "012", "100"), ("1", "2", "x")])
def test_codes_stay_codes_next_to_an_empty_cell(fit, read, known):
    fitted = fit(alternate("", *known))
    assert read(fitted, known[0], "", known[1]) == ([known[0], "(missing)", known[1]], [])


def test_whole_numbers_of_a_frame_are_the_codes_of_a_file(fit):
    fitted = fit(alternate("", "1", "2", "x"))
    frame = pd.DataFrame({"x": 0.5, "cell": [1.0, np.nan]})
    assert fitted.columns.read(frame)["cell"].tolist() == ["1", "(missing)"]


@pytest.mark.parametrize("words", [("true", "false"), ("1", "0"), ("Y", "n"), ("Ja", "nein ")])
def test_other_words_for_yes_and_no_mean_the_same(fit, read, words):
    assert read(fit(alternate("yes", "no")), *words) == (["yes", "no"], [])


def test_a_category_in_another_case_is_the_same(fit, read):
    assert read(fit(alternate("Ulm", "Köln")), "ULM", "köln") == (["Ulm", "Köln"], [])


def test_values_that_no_row_had_are_warned_of(fit, read):
    assert read(fit(alternate("Ulm", "Bonn")), "Rome", "")[1] == ["unseen-values"]


@pytest.mark.parametrize("cell", ["12 g", "12 kg/m", "$12"])
def test_another_unit_is_refused(fit, read, cell):
    fitted = fit([f"{row} kg" for row in range(N_ROWS)])
    assert read(fitted, "3 kg") == ([3], [])
    with pytest.raises(InputError) as error:
        read(fitted, cell)
    assert error.value.code in ("mixed-units", "text-among-numbers")


def test_a_unit_that_numbers_did_not_have_is_refused(fit, read):
    with pytest.raises(InputError) as error:
        read(fit([f"{row / 7:.3f}" for row in range(N_ROWS)]), "12 %")
    assert error.value.code == "mixed-units"


def test_numbers_without_their_unit_are_warned_of(fit, read):
    fitted = fit([f"{row / 7:.2f}%" for row in range(N_ROWS)])
    assert read(fitted, "0.12", "0.3") == ([0.12, 0.3], ["mixed-units"])
    mixed = fit([f"{row / 7:.2f}{'%' * (row % 2)}" for row in range(N_ROWS)])
    assert read(mixed, "0.12", "0.3") == ([0.12, 0.3], [])


def test_multiples_are_read_with_letters_that_training_did_not_have(fit, read):
    fitted = fit(alternate("900", "1.2k", "2k", "950", "3.1k"))
    assert read(fitted, "2M", "7") == ([2e6, 7], [])
