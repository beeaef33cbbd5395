"""Ground truth: every set of tasks on replicates that draw their rows anew."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import truth
from fidelities import Measured
from fidelities.groupings import members

from affinity.problems import RandomRows
from affinity.tasks import Examples


@pytest.fixture
def table(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 2))
    sums = pd.DataFrame({"a": x @ [1, 2], "b": x @ [2, 1], "c": x @ [1, -1]})
    pd.concat([pd.DataFrame(x, columns=["x", "y"]), sums], axis=1).to_csv(
        tmp_path / "sums.csv", index=False
    )
    return tmp_path / "sums.csv"


def measure(monkeypatch: pytest.MonkeyPatch, table: Path, out: str, *more: str) -> pd.DataFrame:
    arguments = [str(table), "--targets", "a,b,c", "--width", "4", "--epochs", "2"]
    folder = str(table.parent / out)
    monkeypatch.setattr(sys, "argv", ["truth", *arguments, "--out", folder, *more])
    truth.main()
    return pd.read_csv(table.parent / out / "sums/truth.csv.gz", dtype={"network": str})


def test_a_stopped_run_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, table: Path) -> None:
    measure(monkeypatch, table, "stopped", "--replicates", "1")
    resumed = measure(monkeypatch, table, "stopped", "--replicates", "2")
    at_once = measure(monkeypatch, table, "at once", "--replicates", "2")
    pd.testing.assert_frame_equal(
        resumed.drop(columns="seconds"), at_once.drop(columns="seconds"), check_exact=True
    )


def test_every_set_of_tasks_is_scored_for_each_of_its_tasks(
    monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    measured = measure(monkeypatch, table, "all", "--replicates", "1")
    masks = measured["network"].drop_duplicates().tolist()
    assert masks == ["100", "010", "001", "110", "101", "011", "111"]
    assert (measured.groupby("network")["task"].agg("".join)["101"]) == "ac"
    assert measured.notna().all().all()


def test_what_is_foretold_of_every_group_is_read_with_its_truth(
    monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    measure(monkeypatch, table, "told", "--replicates", "2", "--foretold", "2")
    told = Measured.read(table.parent / "told/sums").foretold
    assert {name: set(found) for name, found in told.items()} == {
        "representation similarity": {0, 1},
        "task relationships": {0, 1},
        "gradient surrogate": {0, 1},
    }
    for found in told.values():
        gains = found[0].gains
        assert (np.isfinite(gains) == members(3)).all()
        assert (gains[[1, 2, 4], [0, 1, 2]] == 0).all()  # alone nothing is gained
    for name in ("representation similarity", "task relationships"):
        similar = told[name][0].gains
        of_pairs = (similar[0b011, 0] + similar[0b101, 0]) / 2
        assert similar[0b111, 0] == pytest.approx(of_pairs, abs=1e-4)


def test_replicates_trained_in_two_ways_are_not_mixed(
    monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    measure(monkeypatch, table, "mixed", "--replicates", "1")
    with pytest.raises(SystemExit, match=r"training.*differ"):
        measure(monkeypatch, table, "mixed", "--replicates", "2", "--patience", "1")


def test_few_rows_keep_the_shares_and_the_separation_of_the_parts() -> None:
    rows = Examples(torch.zeros(1000, 1), torch.randn(1000, 2))
    draw = truth.FewRows(RandomRows(0.2, 0.3), rows=100)(rows, seed=0)
    assert [len(part) for part in (draw.training, draw.validation, draw.evaluation)] == [50, 20, 30]
    assert len(torch.cat([draw.training, draw.validation, draw.evaluation]).unique()) == 100
    other = truth.FewRows(RandomRows(0.2, 0.3), rows=100)(rows, seed=1)
    assert set(draw.training.tolist()) != set(other.training.tolist())
