"""Combined scores and their front."""

import numpy as np
import pytest
import torch
from codes import raises
from made_up_log import impressions

from affinity.ranking import CombinedScore, compare_weights, gauc, ndcg, weight_grid
from affinity.ranking.combination import is_efficient
from affinity.sharing import Cost


def test_scores_by_hand():
    predictions = {"a": torch.tensor([0.25, 0.0]), "b": torch.tensor([4.0, 2.0])}
    product = CombinedScore({"a": 0.5, "b": 2.0})(predictions)
    assert product.tolist() == pytest.approx([8.0, 0.0], abs=1e-6)
    sums = CombinedScore({"a": 2.0, "b": -1.0}, "sum")(predictions)
    assert sums.tolist() == [-3.5, -2.0]
    for weights in ({}, {"a": np.nan}):
        with raises("invalid-weight"):
            CombinedScore(weights)
    with raises("unknown-form"):
        CombinedScore({"a": 1}, "mean")
    with raises("unknown-task"):
        CombinedScore({"c": 1})(predictions)


def test_efficient_choices_equal_brute_force():
    values = np.random.default_rng(0).integers(0, 4, (40, 3)).astype(float)
    expected = [
        not any((other >= row).all() and (other > row).any() for other in values) for row in values
    ]
    assert is_efficient(values).tolist() == expected


def test_choices_are_measured_for_every_objective():
    data = impressions()
    random = torch.Generator().manual_seed(0)
    predictions = {o.name: torch.rand(len(data), generator=random) for o in data.objectives}
    grid = weight_grid(["click", "like"], steps=4)
    front = compare_weights(predictions, data, grid, cost=Cost(10, 5))
    assert [sum(score.weights.values()) for score in grid] == [1.0] * 5
    alone = front.choices[-1]  # all weight on clicks
    assert alone.values["click"] == pytest.approx(
        ndcg(predictions["click"], data.labels[:, 0], data.users)
    )
    assert front.frame()["parameters"].tolist() == [10] * 5
    within = compare_weights(predictions, data, grid, metric="gauc")
    assert set(within.choices[0].values) == {"click", "like"}  # a time has no AUC
    assert within.choices[0].values["like"] == pytest.approx(
        gauc(predictions["like"], data.labels[:, 2], data.users)
    )
    with raises("no-scores"):
        compare_weights(predictions, data, [])
    with raises("unknown-metric"):
        compare_weights(predictions, data, grid, metric="f1")


def test_rows_that_differ_and_empty_grids_are_refused():
    with raises("rows-differ"):
        CombinedScore({"a": 1.0, "b": 1.0})({"a": torch.ones(2), "b": torch.ones(3)})
    with raises("rows-differ"):
        compare_weights({"click": torch.ones(3)}, impressions(), [CombinedScore({"click": 1.0})])
    for objectives, steps in (([], 4), (["a"], 0)):
        with raises("out-of-range"):
            weight_grid(objectives, steps)
