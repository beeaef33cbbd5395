"""Metrics by scikit-learn's names equal scikit-learn's, and decide where they are asked to."""

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises
from sklearn import metrics

from affinity import AffinityMatrix, load_table
from affinity.audit import Race, retrain
from affinity.cli.stages.group import weigh_gains, weigh_targets
from affinity.estimates import CandidateGroup, GroupScores
from affinity.grouping import solve
from affinity.recommendation import Plan
from affinity.tasks import (
    METRICS,
    BinaryCrossEntropy,
    CrossEntropy,
    NamedMetric,
    SquaredError,
    Task,
)
from affinity.tasks.losses import balanced
from affinity.training import TrainingSettings
from affinity.training.judge import block_metrics

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.integers(0, 2, 50)
LOGIT = RANDOM.normal(size=50) + TRUTH
PROBABILITY = 1 / (1 + np.exp(-LOGIT))


def value_of(name, output, outputs, labels):
    metric = NamedMetric.of(name, output, "task")
    return metric(torch.tensor(outputs).reshape(len(labels), -1), torch.tensor(labels).double())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("roc_auc", metrics.roc_auc_score(TRUTH, LOGIT)),
        ("average_precision", metrics.average_precision_score(TRUTH, LOGIT)),
        ("PR_AUC", metrics.average_precision_score(TRUTH, LOGIT)),
        ("f1", metrics.f1_score(TRUTH, LOGIT > 0)),
        ("neg_log_loss", metrics.log_loss(TRUTH, PROBABILITY)),
        ("brier", metrics.brier_score_loss(TRUTH, PROBABILITY)),
    ],
)
def test_binary_metrics_equal_scikit_learns(name, expected):
    assert value_of(name, "binary", LOGIT, TRUTH) == pytest.approx(expected)


def test_regression_metrics_equal_scikit_learns():
    truth = RANDOM.normal(size=50)
    assert value_of("rmse", "regression", LOGIT, truth) == pytest.approx(
        metrics.root_mean_squared_error(truth, LOGIT)
    )
    assert value_of("quantile_loss:0.9", "regression", LOGIT, truth) == pytest.approx(
        metrics.mean_pinball_loss(truth, LOGIT, alpha=0.9)
    )


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_best_for_perfect_predictions_and_ignores_missing_labels(name):
    for output in METRICS[name].functions:
        labels = np.array([0.0, 1.0, 2.0, np.nan] * 5)
        perfect = {
            "regression": labels,
            "classes": 50 * np.eye(3)[np.nan_to_num(labels).astype(int)],
            "positive": np.log(np.maximum(np.nan_to_num(labels), 1e-12)),
            "censored": -np.nan_to_num(labels),
            "ordinal": 50 * np.sign(np.nan_to_num(labels)[:, None] - [0.5, 1.5]),
        }
        if output == "binary":
            labels = np.minimum(labels, 1)
            perfect["binary"] = 50 * (2 * np.nan_to_num(labels) - 1)
        if output == "censored":
            labels = labels + 1  # times are above 0
        outputs = np.nan_to_num(perfect[output])
        best = 1.0 if METRICS[name].higher_is_better else 0.0
        assert value_of(name, output, outputs, labels) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "output"),
    [("rmse", "binary"), ("nonsense", "regression"), ("f1:0.5", "binary"), ("mae:x", "regression")],
)
def test_a_metric_that_does_not_fit_is_refused(name, output):
    with raises("unknown-metric"):
        NamedMetric.of(name, output, "task")


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(600, 4)), columns=list("abcd"))
    frame["price"] = 1000 * (frame["a"] + 0.3 * random.normal(size=600)) + 5000
    frame["sold"] = (frame["a"] + random.normal(size=600) > 0).astype(int)
    return load_table(frame, ["price", "sold"], settings=TrainingSettings(epochs=15))


def test_an_audit_by_metrics_is_in_their_own_units(problem):
    chosen = {"price": "mean_absolute_error", "sold": "average_precision"}
    judged = problem.judged(metrics=chosen, by="metric")
    audit = retrain(Plan.all_in_one(judged.names), judged, 2, baselines=())
    price, sold = audit.gains.baseline.mean(dim=0).tolist()
    assert 200 < price < 500  # 300 * sqrt(2 / pi) and a network's error
    assert 0.7 < sold < 1
    assert audit.gains.units == ("relative", "difference")
    assert torch.equal(audit.gains.scores, audit.candidates["plan"].metrics.scores)
    assert audit.gains.score_blocks is not None
    assert np.isfinite(audit.verdicts["sold"].low)


def test_weights_count_in_the_overall_gain(problem):
    weighted = problem.judged(weights={"price": 3.0})
    plain, other = (
        retrain(Plan.all_in_one(each.names), each, 2, baselines=()) for each in (problem, weighted)
    )
    gains = list(plain.gains.by_task().values())
    assert other.overall.gain == pytest.approx((3 * gains[0] + gains[1]) / 4)
    with raises("unknown-task"):
        problem.judged(weights={"prize": 3.0})


def test_a_race_follows_metrics_and_weights(problem):
    judged = problem.judged(by="metric", weights={"sold": 2.0})
    result = Race(budget=2, trainings=8)(judged)
    separate = next(each for each in result.candidates if each.name == "separate")
    assert separate.gain == pytest.approx(0, abs=0.02)


def test_weights_count_in_a_grouping_by_affinity(problem):
    matrix = AffinityMatrix(("price", "sold"), torch.tensor([[0.0, -0.2], [0.1, 0.0]]))
    n_networks = [
        len(solve(weigh_targets(matrix, each), budget=2).networks)
        for each in (problem, problem.judged(weights={"price": 9.0}))
    ]
    assert n_networks == [2, 1]  # sharing helps the heavy task
    groups = [{"price": 0.0}, {"sold": 0.0}, {"price": 0.1, "sold": -0.2}]
    predicted = GroupScores(("price", "sold"), tuple(map(CandidateGroup, groups)))
    n_networks = [
        len(solve(weigh_gains(predicted, each), budget=2).networks)
        for each in (problem, problem.judged(weights={"price": 9.0}))
    ]
    assert n_networks == [2, 1]


def test_jackknife_values_have_the_variance_of_a_mean():
    task = Task("mean", SquaredError(), lambda _, target: float(target.mean()))
    target = torch.arange(8.0)
    assert block_metrics(task, target[:, None], target, None, 1.0) == pytest.approx(target.tolist())


def test_balanced_classes_weigh_the_same():
    labels = torch.tensor([0.0, 0.0, 0.0, 1.0])
    loss = balanced(BinaryCrossEntropy(), labels)
    apart = BinaryCrossEntropy()
    logits = torch.tensor([[1.0], [2.0], [3.0], [0.5]])
    expected = (apart(logits[:3], labels[:3]) + apart(logits[3:], labels[3:])) / 2
    assert loss(logits, labels) == pytest.approx(float(expected))
    two = torch.cat([torch.zeros(4, 1), logits], dim=1)
    assert balanced(CrossEntropy(), labels)(two, labels) == pytest.approx(float(expected))
    assert balanced(SquaredError(), labels) == SquaredError()
