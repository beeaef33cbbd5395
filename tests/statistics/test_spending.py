"""Looking often costs no false alarms."""

import numpy as np
import pytest
import torch
from scipy import stats

from affinity import Gains, NegativeTransferTest
from affinity.statistics.spending import levels


def test_bounds_are_those_of_the_literature() -> None:
    """Five equal looks at 2.5 % on a side: the published bounds of this spending function."""
    found = stats.norm.isf(levels((0.2, 0.4, 0.6, 0.8, 1.0), 0.025))
    assert found == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=1e-3)


def test_one_look_has_the_whole_risk() -> None:
    assert levels((1.0,), 0.01) == pytest.approx((0.01,))


@pytest.mark.parametrize("shares", [(0.125, 0.25, 0.5, 1.0), (0.1, 1.0)])
@pytest.mark.parametrize("risk", [0.025, 0.001])
def test_the_risk_of_crossing_is_what_was_asked_for(shares: tuple[float, ...], risk: float) -> None:
    random = np.random.default_rng(0)
    steps = np.diff((0.0, *shares))
    sums = (random.normal(size=(400_000, len(shares))) * np.sqrt(steps)).cumsum(axis=1)
    crossed = (sums / np.sqrt(shares) > stats.norm.isf(levels(shares, risk))).any(axis=1)
    assert crossed.mean() == pytest.approx(risk, abs=4 * np.sqrt(risk / 400_000))


def test_looking_often_costs_no_false_alarms_and_looking_naively_does() -> None:
    looks = ((5, 0.125), (10, 0.25), (20, 0.5), (40, 1.0))
    patient = NegativeTransferTest(tolerance=0.001, looks=looks)
    naive = [NegativeTransferTest(tolerance=0.001)] * len(looks)
    random = np.random.default_rng(1)
    alarms = {"patient": 0, "naive": 0}
    for _ in range(120):
        scores = torch.as_tensor(1 + random.normal(0, 0.1, (40, 2)))
        gains = Gains(("a", "b"), scores, torch.ones_like(scores))
        alarms["patient"] += any(each.verdict != "undecided" for each in patient(gains))
        alarms["naive"] += any(
            verdict.verdict != "undecided"
            for test, (count, _) in zip(naive, looks, strict=True)
            for verdict in test(gains.first(count))
        )
    assert alarms["patient"] / 120 < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 120)
    assert alarms["naive"] / 120 > 0.1


def test_a_verdict_and_its_interval_are_those_of_the_last_look() -> None:
    random = np.random.default_rng(2)
    scores = torch.as_tensor(1 + random.normal(0.5, 0.02, (10, 1)))
    scores[6:] -= 1.0  # later replicates say otherwise
    gains = Gains(("a",), scores, torch.ones_like(scores))
    looks = ((6, 0.6), (10, 1.0))
    assert NegativeTransferTest(looks=looks[:1])(gains.first(6))[0].verdict == "harmful"
    (verdict,) = NegativeTransferTest(looks=looks)(gains)
    assert verdict.verdict == "undecided"
    assert verdict.low < 0 < verdict.high


def test_intervals_of_early_looks_are_wide() -> None:
    scores = torch.as_tensor(1 + np.random.default_rng(3).normal(0, 0.1, (10, 1)))
    gains = Gains(("a",), scores, torch.ones_like(scores))
    (one,) = NegativeTransferTest()(gains)
    (early,) = NegativeTransferTest(looks=((10, 0.5),))(gains)
    assert early.high - early.low > 1.5 * (one.high - one.low)
    assert early.detectable > one.detectable
