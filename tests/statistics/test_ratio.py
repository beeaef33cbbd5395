"""Gains are ratios: tested by plain differences, with intervals that agree with the test."""

import numpy as np
import pytest
import torch
from scipy import stats

from affinity import Gains, NegativeTransferTest
from affinity.statistics import Ratio


def losses(random, n_replicates, n_tasks, spread=0.25):
    """Two draws of uncertain losses that are equally good, paired in part."""
    common, first, second = random.normal(size=(3, n_replicates, n_tasks))
    return [torch.from_numpy(np.exp(spread * (0.5 * common + own))) for own in (first, second)]


def gains_of(scores, baseline):
    return Gains(tuple(f"task {at}" for at in range(scores.shape[1])), scores, baseline)


def test_where_baselines_vary_gains_and_losses_are_found_as_often_as_they_should():
    scores, baseline = losses(np.random.default_rng(0), 5, 4000)
    low, high = gains_of(scores, baseline).estimate().interval()
    found, lost = (low > 0).mean(), (high < 0).mean()
    error = np.sqrt(0.05 * 0.95 / 4000)
    assert found + lost < 0.05 + 3 * error
    assert abs(found - lost) < 4 * error  # a ratio's tangent finds a gain twice as often


def test_intervals_leave_out_nothing_exactly_where_a_plain_t_test_finds_a_difference():
    scores, baseline = losses(np.random.default_rng(1), 6, 300)
    low, high = gains_of(scores, baseline).estimate().interval()
    p_values = stats.ttest_rel(scores.numpy(), baseline.numpy()).pvalue
    assert (p_values < 0.05).any()
    np.testing.assert_array_equal((low > 0) | (high < 0), p_values < 0.05)


def test_verdicts_rest_on_plain_differences():
    scores, baseline = losses(np.random.default_rng(2), 6, 1)
    (verdict,) = NegativeTransferTest()(gains_of(scores, baseline))
    expected = stats.ttest_rel(scores[:, 0].numpy(), baseline[:, 0].numpy()).pvalue
    assert verdict.p_value == pytest.approx(expected)


def test_the_interval_is_fiellers():
    random = np.random.default_rng(3)
    differences = random.normal(0.3, 0.2, size=(7, 1))
    baseline = random.normal(1.0, 0.3, size=(7, 1))
    differences, baseline = differences / baseline.mean(), baseline / baseline.mean()
    covariance = np.cov(differences[:, 0], baseline[:, 0]) / 7
    t = stats.t.ppf(0.975, 6) ** 2
    mean = differences.mean()
    expected = np.sort(
        np.roots(
            [
                1 - t * covariance[1, 1],
                -2 * (mean - t * covariance[0, 1]),
                mean**2 - t * covariance[0, 0],
            ]
        )
    )
    low, high = Ratio(differences, baseline).interval()
    assert [low[0], high[0]] == pytest.approx(expected.tolist())


def test_a_baseline_that_may_be_nothing_leaves_the_interval_of_the_tangent():
    found = Ratio(np.array([[0.5], [1.5], [-0.5]]), np.array([[-1.0], [3.0], [1.0]]))
    low, high = found.interval()
    own = found.beyond(found.mean)
    assert np.isfinite([low[0], high[0]]).all()
    assert high[0] - low[0] >= own.reach()[0]


def test_the_mean_over_unlike_tasks_is_tested_at_its_level():
    """Gains of +50, -100, +25 and +25 %: nothing on average."""
    random = np.random.default_rng(4)
    truth = torch.tensor([0.5, -1.0, 0.25, 0.25])
    alarms = 0
    for _ in range(500):
        scores, baseline = losses(random, 5, 4)
        found = gains_of(scores * (1 - truth), baseline).estimate_overall().beyond(0.0)
        alarms += abs(found.mean[0]) > found.reach()[0]
    assert alarms / 500 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)
