"""Transfer reports: whatever they contain is saved, loaded and summarized as JSON."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up import made_up_transfer

from affinity.statistics import NegativeTransferTest, Verdict
from affinity.storage import load, save, to_jsonable
from affinity.transfer import (
    FINE_TUNING,
    FeatureDistortion,
    JointOrSequential,
    LowDataCurve,
    PairComparison,
    TransferReport,
    choose_recipe,
)

TRANSFER = replace(made_up_transfer(n_blocks=4), context={"seeds": [0, 1], "versions": {"a": "1"}})
VERDICT = Verdict("t", "beneficial", 0.2, 0.1, 0.3, 0.01, 0.05)
NUMBERS = torch.rand(2, 1, 3, 2, generator=torch.Generator().manual_seed(0)).double()
GAINS = TRANSFER.gains().of(["depth → shading"])
EVERYTHING = TransferReport(
    transfer=TRANSFER,
    scores={"LogME": TRANSFER.values().nan_to_num(), "LEEP": torch.full((4, 2), math.nan)},
    curves=(LowDataCurve("depth", "shading", {25: GAINS, 50: GAINS}, {}, NegativeTransferTest()),),
    joint=JointOrSequential(
        (PairComparison("depth", "shading", VERDICT, VERDICT, VERDICT, VERDICT, None, 100),)
    ),
    choice=choose_recipe(
        {FINE_TUNING: replace(TRANSFER, seconds=2.0), "L2-SP": replace(TRANSFER, seconds=1.0)}
    ),
    distortion=FeatureDistortion(
        (("depth", "shading"),),
        (FINE_TUNING, "L2-SP"),
        NUMBERS,
        NUMBERS,
        NUMBERS,
        NUMBERS[..., None],
    ),
)


@pytest.mark.parametrize("report", [TransferReport(TRANSFER), EVERYTHING], ids=["bare", "all"])
def test_a_report_is_loaded_as_it_was_saved(report: TransferReport, tmp_path: Path) -> None:
    again = load(save(report, tmp_path / "transfer.safetensors"))
    assert isinstance(again, TransferReport)
    assert to_jsonable(again) == to_jsonable(report)
    assert to_jsonable(again.summary()) == to_jsonable(report.summary())


def test_a_summary_is_plain_json() -> None:
    summary = json.loads(json.dumps(to_jsonable(EVERYTHING.summary()), allow_nan=False))
    assert [pair["source"] for pair in summary["pairs"][:2]] == ["depth", "depth"]
    assert summary["pairs"][0]["gain"] == pytest.approx(-0.3, abs=0.05)
    assert [row["rows"] for row in summary["curves"]] == [25, 50]
    assert summary["joint"][0]["advice"] == "sequential"
    assert summary["scores"][0]["spearman"] == pytest.approx(1.0)
    assert summary["scores"][1]["spearman"] is None
    assert summary["recipes"][0]["recipe"] in (FINE_TUNING, "L2-SP")
    assert len(summary["distortion"]["overall"]) == 2 * 2
    assert summary["context"] == {"seeds": [0, 1], "versions": {"a": "1"}}
