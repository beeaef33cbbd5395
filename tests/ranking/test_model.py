"""Objectives and the model: losses with known minima, products, and missing positions."""

from dataclasses import replace

import pytest
import torch
from codes import raises, warns
from made_up_log import OBJECTIVES, impressions

from affinity.ranking import RankingModel, RankingObjective, RankingSettings
from affinity.ranking.objective import check_objectives


def minimum(objective: RankingObjective, label: torch.Tensor, n_outputs: int = 1) -> torch.Tensor:
    """The prediction that minimizes the mean loss, the same for all rows."""
    outputs = torch.zeros(n_outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = objective.loss(list(outputs[:, None].expand(-1, len(label))), label)
        value.backward()
        return value

    optimizer.step(loss)
    return objective.prediction(list(outputs.detach()[:, None]))


def test_losses_are_lowest_at_what_they_predict():
    label = torch.tensor([0.0, 1.0, 1.0, 1.0, torch.nan])
    assert minimum(RankingObjective("a"), label).item() == pytest.approx(0.75, abs=1e-3)
    time = torch.tensor([0.0, 3.0, 9.0, torch.nan])
    expected = time[:3].log1p().mean().expm1().item()
    assert minimum(RankingObjective("a", "squared error"), time).item() == pytest.approx(
        expected, 1e-3
    )
    weighted = RankingObjective("a", "weighted logistic", time_unit=10)
    assert minimum(weighted, time).item() == pytest.approx(4.0, 1e-3)
    product = RankingObjective("b", after="a", product=True)
    assert minimum(product, label, n_outputs=2).item() == pytest.approx(0.75, abs=1e-3)


def test_a_product_stays_finite_for_sure_predictions():
    objective = RankingObjective("b", after="a", product=True)
    outputs = torch.tensor([[80.0], [80.0]], requires_grad=True)
    loss = objective.loss(list(outputs), torch.tensor([0.0]))
    loss.backward()
    assert loss.isfinite()
    assert outputs.grad.isfinite().all()


def test_objectives_that_do_not_fit_are_refused():
    with raises("unknown-objective-kind"):
        RankingObjective("a", "hinge")
    with raises("product-without-after"):
        RankingObjective("a", product=True)
    with raises("invalid-weight"):
        RankingObjective("a", weight=0)
    with raises("unknown-condition"):
        check_objectives([RankingObjective("like", after="click"), RankingObjective("click")])
    with raises("no-objectives"):
        check_objectives([])
    with raises("duplicate-task"):
        check_objectives([RankingObjective("a"), RankingObjective("a")])


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({"sharing": "some"}, "unknown-sharing"),
        ({"sharing_settings": {"experts": 3}}, "unknown-setting"),
        ({"position": "last"}, "unknown-position-use"),
        ({"position_dropout": 1.0}, "invalid-dropout"),
        ({"width": 0}, "out-of-range"),
        ({"learning_rate": 0.0}, "out-of-range"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting, code):
    with raises(code):
        RankingSettings(**setting)


SMALL = RankingSettings(hidden=8, width=8, buckets=128, n_positions=5)


def model_of(**settings) -> RankingModel:
    torch.manual_seed(0)
    return RankingModel(OBJECTIVES, ["user", "video"], ["length"], replace(SMALL, **settings))


@pytest.mark.parametrize("position", ["tower", "feature", "none"])
def test_serving_does_not_see_positions(position):
    model, data = model_of(position=position), impressions()
    moved = replace(data, positions=data.positions.flip(0))
    for name, prediction in model.predict(data).items():
        assert torch.equal(prediction, model.predict(moved)[name])


def test_the_tower_moves_objectives_with_position_bias_alone():
    model, data = model_of(), impressions()
    model.fit_scales(data)
    first, last = (
        model.predict(data, torch.full_like(data.positions, position)) for position in (1, 5)
    )
    assert model.biased == [0, 1]
    assert not torch.equal(first["click"], last["click"])
    assert torch.equal(first["like"], last["like"])
    moved = last["click"].logit() - first["click"].logit()
    assert moved.std() < 1e-4  # the same scalar for every impression


def test_a_position_that_training_never_met_counts_as_missing():
    model, data = model_of(), impressions()
    model.fit_scales(data.take(data.positions < 4))
    with warns("unseen-position"):
        predictions = model.predict(data, torch.full_like(data.positions, 4))
    assert torch.equal(predictions["click"], model.predict(data)["click"])


def test_positions_that_do_not_fit_the_rows_are_refused():
    model, data = model_of(), impressions()
    for positions in (data.positions[1:], -data.positions):
        with raises("invalid-position"):
            model.predict(data, positions)


def test_scales_are_those_of_all_days_so_far():
    model, data = model_of(), impressions()
    for day in range(3):
        model.fit_scales(data.day(day))
    past = data.take(data.days < 3).numbers
    torch.testing.assert_close(model.mean, past.mean(dim=0))
    torch.testing.assert_close(model.variance, past.var(dim=0, correction=0))


def test_dropped_positions_are_missing():
    model, data = model_of(position_dropout=0.9), impressions()
    kept = model._dropped(data.positions)
    assert 0.05 < (kept > 0).double().mean() < 0.15
    assert ((kept == 0) | (kept == data.positions)).all()
