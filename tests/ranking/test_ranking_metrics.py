"""Metrics equal scikit-learn's, within groups."""

import math

import numpy as np
import pytest
import torch
from codes import raises
from sklearn.metrics import ndcg_score, roc_auc_score

from affinity.ranking import auc, gauc, ndcg


@pytest.fixture(params=["distinct", "tied"])
def rows(request):
    random = np.random.default_rng(0)
    score = random.normal(size=500)
    if request.param == "tied":
        score = score.round(0)
    label = (random.random(500) < 0.4).astype(float)
    label[::7] = np.nan
    group = random.integers(0, 60, 500)
    return score, label, group


def by_group(rows):
    score, label, group = rows
    for number in np.unique(group):
        members = (group == number) & ~np.isnan(label)
        yield score[members], label[members]


def tensors(rows):
    return [torch.from_numpy(values) for values in rows]


def test_auc_within_and_across_groups(rows):
    score, label, group = tensors(rows)
    known = ~np.isnan(rows[1])
    assert auc(score, label) == pytest.approx(roc_auc_score(rows[1][known], rows[0][known]))
    values = [(roc_auc_score(y, s), len(y)) for s, y in by_group(rows) if 0 < y.sum() < len(y)]
    expected = np.average([v for v, _ in values], weights=[n for _, n in values])
    assert gauc(score, label, group) == pytest.approx(expected)


@pytest.mark.parametrize("k", [None, 1, 3])
def test_ndcg(rows, k):
    expected = [
        ndcg_score(y[None], s[None], k=k) for s, y in by_group(rows) if y.sum() > 0 and len(y) > 1
    ]
    assert ndcg(*tensors(rows), k=k) == pytest.approx(np.mean(expected))


def test_undefined_metrics_are_missing():
    label, group = torch.zeros(4), torch.tensor([1, 1, 2, 2])
    for metric in (gauc, ndcg):
        assert math.isnan(metric(torch.arange(4.0), label, group))
        assert math.isnan(metric(torch.arange(4.0), label * torch.nan, group))


def test_scores_and_labels_that_do_not_fit_are_refused():
    label, group = torch.tensor([1.0, 0.0, torch.nan]), torch.zeros(3)
    for metric in (gauc, ndcg, lambda score, label, _: auc(score, label)):
        with raises("missing-score"):
            metric(torch.tensor([torch.nan, 1.0, 1.0]), label, group)
        assert metric(torch.tensor([2.0, 1.0, torch.nan]), label, group) == 1.0
        with raises("rows-differ"):
            metric(torch.ones(2), label, group)
    for metric in (gauc, lambda score, label, _: auc(score, label)):
        with raises("label-not-binary"):
            metric(torch.ones(3), 2 * label, group)
    with raises("negative-gain"):
        ndcg(torch.ones(3), -label, group)
