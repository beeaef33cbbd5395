"""Feature distortion: drift and similarity after each recipe, in distribution and shifted."""

from dataclasses import replace

import pytest
import torch
from codes import raises
from torch import nn

from affinity.problems import planted
from affinity.sharing import Perceptron
from affinity.tasks import Examples, Replicate
from affinity.training import TrainingSettings
from affinity.transfer import (
    FeatureDistortion,
    FullFineTuning,
    LinearProbe,
    ProbeThenTune,
    distortion,
    hold_out_shifted,
    learn_sources,
    measure_distortion,
)

PROBLEM = planted(n_rows=120).with_settings(TrainingSettings(epochs=3, batch_size=32))
RECIPES = {
    "linear probe": LinearProbe(),
    "full fine-tuning": FullFineTuning(),
    "linear probe then fine-tuning": ProbeThenTune(),
}


@pytest.fixture(scope="module")
def found() -> FeatureDistortion:
    sources = learn_sources(PROBLEM, PROBLEM.replicates(2), ["a1"], targets=["a2", "b1"])
    return measure_distortion(PROBLEM, sources, recipes=RECIPES)


def test_what_was_not_tuned_is_not_distorted_and_a_turn_is_drift_alone() -> None:
    trunk = Perceptron(3, width=4, depth=2)
    rows = torch.randn(50, 3)
    same = distortion(trunk, trunk, rows)
    assert same.drift == 0
    assert same.similarity == pytest.approx(1.0)
    turn = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        turn.weight.copy_(torch.linalg.qr(torch.randn(4, 4))[0])
    turned = distortion(trunk, nn.Sequential(trunk, turn), rows)
    assert turned.drift > 0.1
    assert turned.similarity == pytest.approx(1.0)
    other = distortion(trunk, Perceptron(3, width=4, depth=2), rows)
    assert other.similarity < 0.95


def test_a_probe_distorts_nothing_and_fine_tuning_does(found: FeatureDistortion) -> None:
    drift = found.drift.mean(dim=(1, 2, 3))
    assert drift[0] == 0 < drift[2] < drift[1]
    assert found.similarity[0].allclose(torch.ones(()).double())
    assert bool((found.similarity[1] < 1).all())


def test_losses_in_distribution_are_those_that_tuning_reports(found: FeatureDistortion) -> None:
    assert found.pairs == (("a1", "a2"), ("a1", "b1"))
    assert found.loss.shape == (3, 2, 2, 2)
    per_block = found.blocks.nanmean(dim=-1).double()
    torch.testing.assert_close(per_block, found.loss, rtol=0.05, atol=0.05)


def test_gains_are_over_fine_tuning_and_averaged_over_pairs(found: FeatureDistortion) -> None:
    frame, overall = found.frame(), found.overall()
    assert len(frame) == 3 * 2 * 2
    assert len(overall) == 3 * 2
    fine = frame[frame["recipe"] == "full fine-tuning"]
    assert fine["gain"].abs().max() == 0
    for (recipe, rows), own in frame.groupby(["recipe", "rows"]):
        row = overall[(overall["recipe"] == recipe) & (overall["rows"] == rows)].iloc[0]
        assert row["drift"] == pytest.approx(own["drift"].mean())
        assert row["gain"] == pytest.approx(own["gain"].mean())
    assert "2 pairs" in found.summary


def test_without_fine_tuning_nothing_is_compared(found: FeatureDistortion) -> None:
    alone = replace(found, recipes=("linear probe",))
    assert alone.summary == ""
    assert alone.overall()["gain"].isna().all()
    with raises("unknown-recipe"):
        alone.gains("linear probe", "shifted")


def test_shifted_rows_lie_beyond_the_others_in_every_part() -> None:
    replicate = PROBLEM.replicate(0)
    split = hold_out_shifted(replicate, share=0.3, position=lambda rows: rows[:, 0])
    inside = split.in_distribution
    limit = max(
        float(part.inputs[:, 0].max()) for part in (inside.training, inside.validation, inside.test)
    )
    assert float(split.shifted.inputs[:, 0].min()) > limit
    assert len(inside.test) + len(split.shifted) == len(replicate.test)
    assert len(inside.training) == pytest.approx(0.7 * len(replicate.training), abs=1)


def test_the_first_principal_component_does_not_depend_on_units() -> None:
    replicate = PROBLEM.replicate(0)
    scale = torch.logspace(-3, 3, replicate.training.inputs.shape[1])

    def scaled(rows: Examples) -> Examples:
        return Examples(rows.inputs * scale, rows.targets)

    other = Replicate(
        0, scaled(replicate.training), scaled(replicate.validation), scaled(replicate.test)
    )
    one, two = hold_out_shifted(replicate), hold_out_shifted(other)
    assert torch.equal(one.shifted.targets, two.shifted.targets)


@pytest.mark.parametrize(
    ("share", "code"),
    [(0.0, "invalid-fraction"), (1.0, "invalid-fraction"), (0.99, "too-few-rows")],
)
def test_a_share_that_leaves_too_few_rows_is_refused(share: float, code: str) -> None:
    with raises(code):
        hold_out_shifted(PROBLEM.replicate(0), share)


def test_unknown_pairs_are_named() -> None:
    sources = learn_sources(PROBLEM, PROBLEM.replicates(1), ["a1"], targets=["a2"])
    with raises("unknown-pair"):
        measure_distortion(PROBLEM, sources, [("a2", "a1")], RECIPES)
