"""The recipe's relatedness is what it says."""

import pytest
import torch
from codes import raises
from mmoe_recipe import GENTLE, SUITES, label_pearson, mmoe_recipe


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_labels_are_more_alike_the_higher_the_relatedness(suite: object) -> None:
    pearson = [label_pearson(mmoe_recipe(p, suite, n_rows=4000)) for p in (0.0, 0.5, 0.9, 1.0)]
    assert pearson == sorted(pearson)
    assert abs(pearson[0]) < 0.1
    assert pearson[-1] > 0.98


def test_labels_follow_the_formula() -> None:
    # Along the first weight vector of p = 1 both labels are the sum of line and sines, and noise.
    problem = mmoe_recipe(1.0, GENTLE, n_rows=5000)
    noise = problem.development.targets[:, 0] - problem.development.targets[:, 1]
    assert noise.std().item() == pytest.approx(0.1 * 2**0.5, rel=0.05)


def test_seeds_decide_everything() -> None:
    one, other, third = (mmoe_recipe(0.5, n_rows=100, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.development.targets, other.development.targets)
    assert not torch.equal(one.development.targets, third.development.targets)


def test_a_correlation_outside_is_refused() -> None:
    with raises("out-of-range"):
        mmoe_recipe(1.5)
