"""Metrics agree with scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from affinity.tasks import Accuracy, RocAuc, RSquared, concordance_index


@pytest.mark.parametrize("count", [2, 7, 200])
@pytest.mark.parametrize("decimals", [0, 1, 6])  # few decimals make many ties
def test_the_area_under_the_curve_is_that_of_scikit_learn(count: int, decimals: int) -> None:
    generator = torch.Generator().manual_seed(count)
    score = torch.randn(count, 1, generator=generator).round(decimals=decimals)
    label = (torch.rand(count, generator=generator) > 0.7).float()
    label[:2] = torch.tensor([0.0, 1.0])
    expected = roc_auc_score(label.numpy(), score.squeeze(1).numpy())
    assert RocAuc()(score, label) == pytest.approx(expected, abs=1e-12)


def test_accuracy_and_explained_variance_are_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, generator=generator)
    label = torch.randint(4, (50,), generator=generator)
    expected = accuracy_score(label.numpy(), logits.argmax(dim=1).numpy())
    assert Accuracy()(logits, label.float()) == pytest.approx(expected)
    guess, truth = torch.randn(2, 50, 1, generator=generator)
    expected = r2_score(truth.squeeze(1).numpy(), guess.squeeze(1).numpy())
    assert RSquared()(guess, truth.squeeze(1)) == pytest.approx(expected, rel=1e-6)


def test_an_infinite_score_has_a_place_and_nan_has_none() -> None:
    score = torch.tensor([[-math.inf], [0.0], [math.inf]])
    assert RocAuc()(score, torch.tensor([0.0, 1.0, 1.0])) == 1.0
    assert math.isnan(RocAuc()(score * 0, torch.tensor([0.0, 1.0, 1.0])))


def test_concordance_is_that_of_all_pairs():
    random = np.random.default_rng(0)
    for n_rows in (2, 9, 33, 64):
        times = random.integers(1, 8, n_rows) * random.choice([-1.0, 1.0], n_rows)
        times[0] = 1.0
        risks, weights = random.integers(0, 9, n_rows) / 3, random.random(n_rows)
        right = pairs = 0.0
        for one in np.flatnonzero(times > 0):
            later = (np.abs(times) > times[one]) | (times == -times[one])
            score = (risks < risks[one]) + 0.5 * (risks == risks[one])
            right += weights[one] * (weights * score)[later].sum()
            pairs += weights[one] * weights[later].sum()
        assert concordance_index(times, risks, weights) == pytest.approx(right / pairs)
    assert np.isnan(concordance_index(np.array([-1.0, -2.0]), np.array([0.0, 1.0])))
