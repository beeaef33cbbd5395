"""Gains are paired and point up; verdicts keep their promises."""

import numpy as np
import pytest
import torch
from codes import raises
from scipy import stats

from affinity import Gains, NegativeTransferTest, Score
from affinity.statistics.negative_transfer import holm


def gains_of(differences, baseline=1.0, **fields):
    """Losses of 1 and of 1 minus these relative gains."""
    base = torch.full(differences.shape, baseline, dtype=torch.double)
    tasks = tuple(f"task {at}" for at in range(differences.shape[1]))
    scores = base * (1 - torch.as_tensor(differences))
    return Gains(tasks=tasks, scores=scores, baseline=base, **fields)


def test_up_is_good_for_losses_and_for_scores():
    scores, baseline = torch.tensor([[1.0], [1.0]]), torch.tensor([[2.0], [2.0]])
    assert Gains(("t",), scores, baseline).by_task() == {"t": 0.5}
    assert Gains(
        ("t",), scores, baseline, definitions=(Score("maximize", relative=True),)
    ).by_task() == {"t": -0.5}


def test_the_interval_is_students():
    differences = np.random.default_rng(0).normal(0.1, 0.05, (8, 1))
    row = gains_of(differences).frame().iloc[0]
    expected = stats.ttest_1samp(differences[:, 0], 0).confidence_interval()
    assert row["low"] == pytest.approx(expected.low)
    assert row["high"] == pytest.approx(expected.high)


def test_p_values_are_those_of_scipy():
    differences = np.random.default_rng(1).normal(0.02, 0.05, (8, 1))
    (verdict,) = NegativeTransferTest()(gains_of(differences))
    assert verdict.p_value == pytest.approx(stats.ttest_1samp(differences[:, 0], 0).pvalue)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([np.nan, 0.5, 0.9])), [np.nan, 1.0, 1.0])


def test_verdicts():
    noise = np.random.default_rng(2).normal(0, 1, (12, 5))
    noise -= noise.mean(axis=0)
    spread = np.array([0.02, 0.02, 0.002, 0.2, 0.0])
    mean = np.array([0.1, -0.1, 0.001, 0.05, 0.0])
    verdicts = NegativeTransferTest()(gains_of(mean + spread * noise))
    named = [verdict.verdict for verdict in verdicts]
    assert named == ["beneficial", "harmful", "neutral", "undecided", "neutral"]


def test_one_replicate_decides_nothing():
    (verdict,) = NegativeTransferTest()(gains_of(np.array([[0.5]])))
    assert verdict.verdict == "undecided"
    assert np.isnan([verdict.low, verdict.high, verdict.p_value, verdict.detectable]).all()


def test_false_alarms_stay_below_the_level():
    """Over 400 audits of 6 tasks without any gain, few raise an alarm for any task."""
    random = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        verdicts = NegativeTransferTest()(gains_of(random.normal(0, 0.1, (8, 6))))
        alarms += any(verdict.verdict in ("harmful", "beneficial") for verdict in verdicts)
    assert alarms / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_detectable_effect_is_found_in_four_of_five_audits():
    random = np.random.default_rng(4)
    noise, n_replicates = 0.1, 10
    (verdict,) = NegativeTransferTest()(gains_of(random.normal(0, noise, (2000, 1))))
    effect = verdict.detectable * np.sqrt(2000 / n_replicates) * 1.1  # Student's t against normal
    found = [
        NegativeTransferTest()(gains_of(random.normal(effect, noise, (n_replicates, 1))))[0].verdict
        == "beneficial"
        for _ in range(300)
    ]
    assert 0.72 < np.mean(found) < 0.9


def test_shapes_must_fit():
    with raises("wrong-shape"):
        Gains(("a", "b", "c"), torch.zeros(3, 2), torch.zeros(3, 2))


def test_gains_by_differences():
    """Metrics gain points; more is better, and zeros and negative baselines are no matter."""
    scores = torch.tensor([[0.72, 0.1], [0.74, 0.3]], dtype=torch.double)
    baseline = torch.tensor([[0.70, -0.1], [0.70, 0.1]], dtype=torch.double)
    maximize = Score("maximize")
    gains = Gains(("auc", "r2"), scores, baseline, (maximize, maximize))
    assert gains.by_task() == pytest.approx({"auc": 0.03, "r2": 0.2})
    assert gains.overall() == pytest.approx([0.11, 0.12])
    expected = stats.ttest_1samp([0.02, 0.04], 0).confidence_interval()
    row = gains.frame().iloc[0]
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["unit"], gains.overall_unit) == ("difference", "difference")


def test_the_gain_is_that_of_the_score():
    scores = torch.tensor([[-3.0], [-3.0]], dtype=torch.double)
    for baseline in (-2.0, 0.0, 4.0):
        gains = Gains(("t",), scores, torch.full_like(scores, baseline))
        assert gains.by_task() == pytest.approx({"t": Score("minimize").gain(-3.0, baseline)})


def test_units_and_weights_enter_the_overall_gain_and_the_tolerance():
    """A gain of two units of AUC counts as much as 2 % of a loss; a task of weight 3 thrice."""
    noise = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.double) * 1e-6
    scores = torch.stack([0.7020 + noise, 0.98 + noise, 0.5004 + noise], dim=1)
    baseline = torch.tensor([[0.7, 1.0, 0.5]] * 4, dtype=torch.double)
    auc = Score("maximize", unit=0.001)
    gains = Gains(("auc", "loss", "flat"), scores, baseline, (auc, Score("minimize"), auc))
    verdicts = NegativeTransferTest()(gains)
    assert [verdict.verdict for verdict in verdicts] == ["beneficial", "beneficial", "neutral"]
    assert [verdict.tolerance for verdict in verdicts] == pytest.approx([0.001, 0.01, 0.001])
    overall = NegativeTransferTest().overall(gains)
    assert overall.gain == pytest.approx((0.02 + 0.02 + 0.004) / 3, rel=1e-3)
    assert (overall.unit, verdicts[0].unit, verdicts[1].unit) == (
        "common",
        "difference",
        "relative",
    )
    heavy = Score("minimize", weight=3.0)
    weighted = Gains(("auc", "loss", "flat"), scores, baseline, (auc, heavy, auc))
    assert weighted.overall().mean() == pytest.approx((0.02 + 3 * 0.02 + 0.004) / 5, rel=1e-3)


def test_gains_of_some_tasks_and_replicates_are_parts_of_all():
    generator = torch.Generator().manual_seed(0)
    scores, baseline = torch.rand(2, 4, 3, generator=generator, dtype=torch.double)
    maximize = Score("maximize")
    gains = Gains(("a", "b", "c"), scores, baseline, (Score("minimize"), maximize, maximize))
    part = gains.of(("c", "a"))
    assert part.by_task() == {task: gains.by_task()[task] for task in ("c", "a")}
    assert gains.of_replicates((0, 1, 2, 3)).by_task() == gains.by_task()
    assert gains.first(2).scores.equal(scores[:2])


def test_intervals_of_relative_gains_of_losses_end_at_the_whole_loss() -> None:
    baseline = torch.tensor([[1.0, 1.0], [0.2, -0.2], [3.0, 3.0]])
    scores = torch.tensor([[0.1, 0.1], [0.1, 0.1], [0.1, 0.1]])
    gains = Gains(("loss", "negative"), scores, baseline)
    _, high = gains.estimate().interval()
    assert high[0] == 1.0
    assert high[1] > 1.0  # a score that may be below 0 has no such end
    assert gains.of(["loss"]).estimate_overall().interval()[1][0] == 1.0
