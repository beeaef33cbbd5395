"""`--trunk`: trained, reported, saved and loaded."""

import json

import pandas as pd
import pytest

from affinity.audit import TrainedPlan

QUICK = ["--epochs", "3", "--replicates", "2", "--measure-every", "2", "--width", "8"]
TARGETS = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]
OWN = """
from torch import nn

class Own(nn.Sequential):
    def __init__(self, n_features, width, depth):
        super().__init__(nn.Linear(n_features, width), nn.BatchNorm1d(width), nn.Tanh())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "ft-transformer", "own_trunk:Own"])
def test_a_trunk_is_trained_reported_saved_and_loaded(call, csv, tmp_path, monkeypatch, kind):
    if kind == "ft-transformer":
        pytest.importorskip("rtdl_revisiting_models")
    (tmp_path / "own_trunk.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "run"
    arguments = ["audit", csv, *TARGETS, *QUICK, "--trunk", kind, "--out", out]
    code, said = call(*arguments, "--save-models")
    assert code == 0, said
    assert json.loads((out / "audit.json").read_text())["context"]["settings"]["trunk"] == kind
    assert f"trunk: {kind}" in (out / "report.html").read_text()
    plan = TrainedPlan.load(out / "trained.safetensors")
    assert {trunk.kind for trunk in plan.trunks} == {kind}
    audits_own = pd.read_csv(out / "predictions.csv", index_col="row")
    predicted = plan(pd.read_csv(csv)).loc[audits_own.index]
    pd.testing.assert_frame_equal(
        predicted, audits_own, check_names=False, rtol=1e-4, atol=1e-5, check_index_type=False
    )


def test_an_unknown_trunk_is_refused_before_the_table_is_read(call, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("no table")
    refused = call("audit", table, *TARGETS, "--trunk", "tree")
    assert refused.exit_code == 2
    assert refused.error == "unknown-trunk"
