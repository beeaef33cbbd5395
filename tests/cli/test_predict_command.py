"""`retrain --save-models` and `predict`: the audit's own networks, on any table."""

import json
from io import StringIO

import numpy as np
import pandas as pd
import pytest
import torch

from affinity import load_table
from affinity.audit import TrainedPlan
from affinity.cli import main
from affinity.problems import TableEncoder

TARGETS = ["--target", "sum", "--target", "sign, of y", "--target", "thirds"]
QUICK = ["--epochs", "4", "--replicates", "2", "--measure-every", "2", "--width", "8"]
QUICK += ["--baselines", "minimal", "--no-reference"]


@pytest.fixture(scope="module")
def mixed(grouped, tmp_path_factory):
    """Numbers with gaps and absurd values, categories, dates, booleans."""
    csv = tmp_path_factory.mktemp("mixed") / "table.csv"
    random = np.random.default_rng(1)
    frame = pd.read_csv(grouped[0])
    frame.loc[::7, "w"] = np.nan
    frame.loc[3, "x"] = 1e9
    frame["city"] = random.choice(
        ["Ulm", "Bonn", "Köln", "rare"], size=len(frame), p=[0.4, 0.3, 0.28, 0.02]
    )
    frame.loc[::11, "city"] = np.nan
    frame["day"] = pd.date_range("2020-01-01", periods=len(frame)).strftime("%Y-%m-%d")
    frame["flag"] = random.random(len(frame)) < 0.5
    frame.to_csv(csv, index=False)
    return csv


@pytest.fixture(scope="module")
def saved(mixed):
    """A run whose networks are kept."""
    out = mixed.parent / "run"
    with pytest.raises(SystemExit) as stop:
        main(["audit", str(mixed), *TARGETS, *QUICK, "--save-models", "--out", str(out)])
    assert stop.value.code == 0
    return out


def test_predictions_equal_the_audits_own(call, mixed, saved):
    own = pd.read_csv(saved / "predictions.csv", index_col="row")
    code, said = call("predict", saved, mixed)
    assert code == 0, said
    found = pd.read_csv(StringIO(said))
    assert len(found) == 240
    assert len(own) == 60
    pd.testing.assert_frame_equal(
        found.loc[own.index], own, check_names=False, rtol=1e-5, atol=1e-6, check_index_type=False
    )
    # And they are good for something: the test loss that audit.json tells for this replicate.
    truth = pd.read_csv(mixed).loc[own.index, "sum"]
    assert ((own["sum"] - truth) ** 2).mean() < truth.var() * 1.2
    assert set(own["sign, of y"]) <= {"plus", "minus"}
    probabilities = own[[f"P(thirds = {name})" for name in ("high", "low", "mid")]]
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1)


def test_notes_on_the_table_do_not_mix_with_predictions(mixed, saved, tmp_path, capsys):
    other = tmp_path / "other.csv"
    pd.read_csv(mixed).head(9).to_csv(other, sep=";", index=False)  # noted
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(saved), str(other)])
    printed = capsys.readouterr()
    assert stop.value.code == 0
    assert len(pd.read_csv(StringIO(printed.out))) == 9
    assert "--separator" in printed.err


def test_rows_are_predicted_one_by_one_as_together(mixed, saved):
    kept, table = TrainedPlan.load(saved / "trained.safetensors"), pd.read_csv(mixed)
    features = table.drop(columns=["sum", "sign, of y", "thirds"])  # targets are not needed
    together = kept(features)
    alone = pd.concat([kept(features.iloc[[row]]) for row in range(5)], ignore_index=True)
    pd.testing.assert_frame_equal(alone, together.head(5), rtol=1e-4, atol=1e-6)


def test_preprocessing_does_what_scikit_learn_did(mixed):
    problem = load_table(mixed, targets=["sum", "sign, of y", "thirds"])
    encoder = problem.encoder
    assert isinstance(encoder, TableEncoder)
    training = problem.draw(0).training
    development, test = encoder(training)
    inputs = encoder.fitted(training)(pd.read_csv(mixed))
    assert torch.equal(inputs[encoder.development], development.inputs)
    assert torch.equal(inputs[encoder.test], test.inputs)


@pytest.mark.slow
def test_models_can_be_saved_later(call, csv, tmp_path):
    out = tmp_path / "run"
    assert call("audit", csv, *TARGETS, *QUICK, "--out", out)[0] == 0
    tasks = json.loads((out / "audit.json").read_text())["tasks"]
    assert call("predict", out, csv).error == "no-saved-models"
    code, said = call("retrain", out, "--save-models")
    assert code == 0, said
    again = json.loads((out / "audit.json").read_text())["tasks"]
    assert [task["verdict"] for task in again] == [task["verdict"] for task in tasks]
    for now, before in zip(again, tasks, strict=True):  # sums over other sets of test rows
        for name in ("plan", "separate", "all-in-one"):
            assert now["loss"][name] == pytest.approx(before["loss"][name])
    file = tmp_path / "new.csv"
    assert call("predict", out, csv, "--out", file)[0] == 0
    assert len(pd.read_csv(file)) == 240


def test_a_table_that_does_not_fit_is_told(call, mixed, saved, tmp_path):
    table = pd.read_csv(mixed)
    other = tmp_path / "other.csv"
    table.rename(columns={"city": "citty"}).to_csv(other, index=False)
    outcome = call("predict", saved, other)
    assert outcome.exit_code == 2
    assert "'citty'" in outcome.words
    table["w"] = "much"
    table.to_csv(other, index=False)
    outcome = call("predict", saved, other)
    assert outcome.exit_code == 2
    assert "'w'" in outcome.words


def test_built_in_problems_have_no_new_rows(call, tmp_path):
    more = ["--epochs", "2", "--measure-every", "5", "--replicates", "2", "--out", tmp_path / "run"]
    outcome = call("audit", "digits", *more, "--save-models")
    assert outcome.exit_code == 2
    assert not (tmp_path / "run" / "trace.safetensors").exists()  # before anything is trained
