"""Intervals hold for other replicates and for other test rows."""

import numpy as np
import pytest
import torch
from scipy import stats

from affinity import Gains, NegativeTransferTest
from affinity.statistics.two_level import Estimate, estimate


def crossed(random, n_replicates, n_blocks, of_replicates, of_rows, of_rest):
    """Differences of mean 0 whose replicates and blocks of rows vary so."""
    return (
        of_replicates * random.normal(size=(n_replicates, 1))
        + of_rows * random.normal(size=(1, n_blocks))
        + of_rest * random.normal(size=(n_replicates, n_blocks))
    )


def gains_of(blocks):
    """One task whose baseline is 1 everywhere."""
    blocks = torch.as_tensor(blocks)[:, None]
    scores = 1 - blocks.mean(dim=2)
    return Gains(
        ("task",), scores, torch.ones_like(scores), None, 1 - blocks, torch.ones_like(blocks)
    )


@pytest.mark.parametrize(
    ("of_replicates", "of_rows", "of_rest"), [(1, 0, 0), (1, 0, 5), (0.3, 5, 3), (1, 10, 1)]
)
def test_intervals_cover_the_truth_as_often_as_they_say(of_replicates, of_rows, of_rest):
    random = np.random.default_rng(0)
    found = [
        estimate(blocks.mean(axis=1)[:, None], blocks[:, None])
        for blocks in (crossed(random, 5, 60, of_replicates, of_rows, of_rest) for _ in range(500))
    ]
    ends = np.array([[end[0] for end in each.interval()] for each in found])
    covered = np.mean((ends[:, 0] < 0) & (ends[:, 1] > 0))
    assert 0.92 < covered < 0.985


def test_intervals_over_replicates_alone_do_not_hold_for_other_test_rows():
    random = np.random.default_rng(1)
    blocks = [crossed(random, 5, 60, 0.3, 5, 1) for _ in range(300)]
    alone = [estimate(each.mean(axis=1)[:, None]).interval() for each in blocks]
    assert np.mean([low[0] < 0 < high[0] for low, high in alone]) < 0.6


@pytest.mark.parametrize("of_rows", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("risk", [0.05, 0.0125, 0.001])
def test_few_replicates_and_strict_levels_cost_no_false_alarms(of_rows, risk):
    """Three replicates; by Satterthwaite's degrees of freedom up to nine times the risk."""
    random, count, rest = np.random.default_rng(8), 200_000, 0.5
    by_blocks = (of_rows + rest) * random.chisquare(59, count) / 59
    found = Estimate(
        mean=random.normal(0, np.sqrt(1 + of_rows), count),
        of_replicates=random.chisquare(2, count) / 2,
        of_rows=np.maximum(0, by_blocks - rest * random.chisquare(118, count) / 118),
        n_replicates=3,
        n_blocks=np.full(count, 60.0),
    )
    alarms = np.abs(found.mean) > found.critical(risk / 2) * found.error
    assert alarms.mean() < risk + 3 * np.sqrt(risk / count)


def test_the_tail_is_the_critical_value_turned_around():
    found = Estimate(
        mean=np.zeros(3),
        of_replicates=np.array([1.0, 1.0, 0.0]),
        of_rows=np.array([0.0, 2.0, 1.0]),
        n_replicates=5,
        n_blocks=np.full(3, 60.0),
    )
    for risk in (0.3, 0.01, 1e-6):
        errors = found.critical(risk)
        assert found.tail(errors) == pytest.approx(risk)
        assert found.tail(-errors) == pytest.approx(1 - risk)
    assert found.tail(np.full(3, np.inf)).tolist() == [0, 0, 0]
    assert np.isnan(found.tail(np.full(3, np.nan))).all()


def test_rows_that_agree_add_next_to_nothing():
    random = np.random.default_rng(2)
    blocks = crossed(random, 8, 100, 1, 0, 1)
    both = estimate(blocks.mean(axis=1)[:, None], blocks[:, None])
    alone = estimate(blocks.mean(axis=1)[:, None])
    assert alone.error[0] <= both.error[0] < 1.1 * alone.error[0]
    assert both.critical(0.025)[0] == pytest.approx(alone.critical(0.025)[0], rel=0.1)


def test_a_ratio_varies_with_its_baseline_too():
    """The gain of 50 % is certain, although losses and baselines go up and down together."""
    baseline = torch.tensor([[1.0], [2.0], [4.0]])
    row = Gains(("task",), baseline / 2, baseline).frame().iloc[0]
    assert row[["gain", "low", "high"]].tolist() == pytest.approx([0.5, 0.5, 0.5])


def test_the_mean_over_tasks_hangs_together_over_common_rows():
    random = np.random.default_rng(4)
    rows = random.normal(size=(1, 1, 64)) * np.ones((6, 1, 1))
    noise = 0.01 * random.normal(size=(6, 3, 64))

    def gains(blocks):
        blocks = torch.as_tensor(blocks)
        scores, ones = 1 - blocks.nanmean(dim=2), torch.ones(6, 3)
        return Gains(
            ("a", "b", "c"), scores, ones.double(), None, 1 - blocks, torch.ones_like(blocks)
        )

    together = gains(np.repeat(rows, 3, axis=1) + noise).estimate_overall().beyond(0.0)
    alone = gains(random.normal(size=(1, 3, 64)) * np.ones((6, 1, 1)) + noise)
    apart = alone.estimate_overall().beyond(0.0)
    assert together.error[0] == pytest.approx(1 / 8, rel=0.3)
    assert apart.error[0] == pytest.approx(1 / 8 / np.sqrt(3), rel=0.3)
    unlike = np.repeat(rows, 3, axis=1) + noise
    unlike[:, 1, 50:] = np.nan  # a task with fewer labelled rows
    found = gains(unlike).estimate_overall().beyond(0.0)
    assert found.error[0] == pytest.approx(1 / 8, rel=0.4)


def test_what_would_decide_is_said():
    random = np.random.default_rng(5)
    noisy = gains_of(0.05 + crossed(random, 6, 60, 0.1, 0, 0.1))
    verdict = NegativeTransferTest().overall(noisy)
    assert verdict.verdict == "undecided"
    assert verdict.needed is not None
    again = [
        NegativeTransferTest()(gains_of(0.05 + crossed(random, verdict.needed, 60, 0.1, 0, 0.1)))
        for _ in range(100)
    ]  # six replicates say only roughly how noisy they are, and how large the gain
    assert np.mean([each[0].verdict == "beneficial" for each in again]) > 0.5
    few_rows = gains_of(0.05 + crossed(random, 20, 60, 0.01, 1, 0.1))
    verdict = NegativeTransferTest().overall(few_rows)
    assert verdict.verdict == "undecided"
    assert verdict.needed is None  # more replicates would not help: too few test rows


def test_one_replicate_gives_no_interval():
    (verdict,) = NegativeTransferTest()(gains_of(np.full((1, 10), 0.5)))
    assert verdict.verdict == "undecided"
    assert np.isnan([verdict.low, verdict.high, verdict.p_value, verdict.detectable]).all()
    assert verdict.needed is None


def test_false_discoveries_are_a_small_share_of_the_alarms():
    random = np.random.default_rng(6)
    shares, found = [], 0
    for _ in range(100):
        truth = np.where(np.arange(40) < 20, 0.0, 0.3)
        scores = torch.as_tensor(1 - truth - random.normal(0, 0.1, (5, 40)))
        gains = Gains(tuple(map(str, range(40))), scores, torch.ones_like(scores))
        named = [each.verdict for each in NegativeTransferTest(adjust="fdr")(gains)]
        alarms = np.isin(named, ["harmful", "beneficial"])
        shares.append(alarms[:20].sum() / max(1, alarms.sum()))
        found += alarms[20:].sum()
    assert np.mean(shares) < 0.05
    assert found > 0.9 * 2000


def test_the_interval_without_blocks_is_students():
    differences = np.random.default_rng(7).normal(0.1, 0.05, (8, 1))
    low, high = estimate(differences).interval()
    expected = stats.ttest_1samp(differences[:, 0], 0).confidence_interval()
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))
