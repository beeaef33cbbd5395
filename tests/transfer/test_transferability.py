"""Scores without training: laws, cases worked by hand, and brute force."""

import math

import numpy as np
import pytest
import torch
from made_up import made_up_transfer
from scipy import optimize, stats
from torch import Tensor

from affinity.problems import planted
from affinity.training import TrainingSettings
from affinity.transfer import (
    LEEP,
    SCORES,
    HScore,
    LogME,
    SourceFeatures,
    learn_sources,
    rank_correlation,
    representation_similarity,
    transferability_scores,
)

every_score = pytest.mark.parametrize("name", SCORES)


def view(seed: int = 0, n_classes: int | None = 3, n_rows: int = 40) -> SourceFeatures:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n_rows, 4, generator=generator)
    if n_classes is None:
        labels = features[:, 0] + 0.5 * torch.randn(n_rows, generator=generator)
    else:
        labels = features[:, :n_classes].argmax(dim=1).float()
    chance = torch.randn(n_rows, 5, generator=generator).softmax(dim=1)
    return SourceFeatures(features, labels, n_classes, chance)


def changed(
    view: SourceFeatures, features: Tensor | None = None, order: Tensor | None = None
) -> SourceFeatures:
    order = torch.arange(len(view.labels)) if order is None else order
    new = view.features if features is None else features
    assert view.probabilities is not None
    return SourceFeatures(new[order], view.labels[order], view.n_classes, view.probabilities[order])


@every_score
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    one = view()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert SCORES[name](changed(one, order=order)) == pytest.approx(SCORES[name](one), rel=1e-6)


@every_score
def test_a_rotation_of_the_representation_changes_nothing(name: str) -> None:
    one = view()
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(2)))
    expected = SCORES[name](one)
    assert SCORES[name](changed(one, one.features @ turn)) == pytest.approx(expected, rel=1e-4)


@every_score
def test_features_that_separate_the_classes_score_higher_than_noise(name: str) -> None:
    one = view()
    labels = one.labels.long()
    informative = SourceFeatures(
        torch.nn.functional.one_hot(labels, 3).float() + 0.1 * one.features[:, :3],
        one.labels,
        3,
        torch.nn.functional.one_hot(labels, 3).float() * 0.9 + 1 / 30,
    )
    assert one.probabilities is not None
    noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(3))
    assert (
        SCORES[name](informative)
        > SCORES[name](SourceFeatures(noise, one.labels, 3, one.probabilities)) + 0.1
    )


@pytest.mark.parametrize("n_rows", [3, 40])
def test_log_me_is_the_largest_evidence_over_all_precisions(n_rows: int) -> None:
    one = view(n_classes=None, n_rows=n_rows)  # more features than rows, and fewer
    features, labels = one.features.double().numpy(), one.labels.double().numpy()

    def evidence(logs: np.ndarray) -> float:
        alpha, beta = np.exp(np.clip(logs, -12, 12))
        covariance = features @ features.T / alpha + np.eye(n_rows) / beta
        return -stats.multivariate_normal(np.zeros(n_rows), covariance).logpdf(labels)

    starts = [(a, b) for a in (-1.0, 2.0) for b in (0.0, 3.0)]
    best = min(optimize.minimize(evidence, start, method="Nelder-Mead").fun for start in starts)
    reached = LogME(steps=3_000)(one)
    if n_rows > 4:
        assert reached == pytest.approx(-best / n_rows, abs=1e-4)
    else:  # the evidence grows without bound as the noise vanishes: both have gone far
        assert reached > -3


def test_log_me_of_classes_is_the_mean_over_them() -> None:
    one = view(n_classes=2)
    assert one.probabilities is not None
    each = [
        LogME()(SourceFeatures(one.features, (one.labels == label).float(), None))
        for label in (0.0, 1.0)
    ]
    assert LogME()(one) == pytest.approx(sum(each) / 2)


def test_leep_of_a_case_worked_by_hand() -> None:
    # P(y = 0 | z = 0) = (0.75 + 0.75) / (0.75 + 0.75 + 0.5) = 3/4, P(y = 0 | z = 1) = 1/2
    chance = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]])
    one = SourceFeatures(torch.zeros(3, 1), torch.tensor([0.0, 0.0, 1.0]), 2, chance)
    first = math.log(0.75 * 0.75 + 0.25 * 0.5)
    last = math.log(0.5 * 0.25 + 0.5 * 0.5)
    assert LEEP()(one) == pytest.approx((2 * first + last) / 3)


def test_leep_is_at_most_zero_and_reaches_it_where_the_classes_are_the_same() -> None:
    labels = torch.tensor([0.0, 1.0, 1.0])
    assert LEEP()(SourceFeatures(torch.zeros(3, 1), labels, 2, torch.eye(2)[[1, 0, 0]])) == 0.0
    assert LEEP()(view()) < 0


def test_the_h_score_of_one_feature_is_the_share_of_variance_between_classes() -> None:
    features = torch.tensor([[0.0], [2.0], [4.0], [6.0]])  # means 1 and 5: 16 of 20
    one = SourceFeatures(features, torch.tensor([0.0, 0.0, 1.0, 1.0]), 2)
    assert HScore()(one) == pytest.approx(16 / 20)
    dead = SourceFeatures(torch.cat([features, torch.ones(4, 1)], dim=1), one.labels, 2)
    assert HScore()(dead) == pytest.approx(16 / 20)


def test_the_h_score_is_the_trace_of_the_paper() -> None:
    one = view()
    features, labels = one.features.double().numpy(), one.labels.numpy()
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    expected = np.trace(np.linalg.inv(np.cov(features.T)) @ np.cov(means.T))
    assert HScore()(one) == pytest.approx(float(expected))


def test_a_score_that_is_not_defined_is_nan() -> None:
    number = view(n_classes=None)
    assert math.isnan(LEEP()(number))
    assert math.isnan(HScore()(number))
    assert math.isnan(LEEP()(SourceFeatures(number.features, torch.zeros(40), 2)))
    assert all(
        math.isnan(s(SourceFeatures(torch.zeros(0, 2), torch.zeros(0), 2))) for s in SCORES.values()
    )


@pytest.mark.slow
def test_scores_find_the_source_of_the_target_s_cluster() -> None:
    problem = planted(n_rows=800)
    sources = learn_sources(
        problem, problem.replicates(1), ["a1", "b1", "c1", "a2"], targets=["a2"]
    )
    for found in (
        transferability_scores(problem, sources, LogME(), ["a2"]),
        representation_similarity(problem, sources, ["a2"]),
    ):
        assert found.shape == (4, 1)
        assert found[:3, 0].argmax() == 0
        assert math.isnan(found[3, 0])


def test_scores_without_the_target_as_a_source_leave_the_similarity_open() -> None:
    problem = planted(n_rows=60).with_settings(TrainingSettings(epochs=1))
    sources = learn_sources(problem, problem.replicates(1), ["a1"], targets=["a2"])
    assert representation_similarity(problem, sources, ["a2"]).isnan().all()


def test_scores_equal_to_the_gains_rank_perfectly() -> None:
    transfer = made_up_transfer()
    right = rank_correlation(transfer, transfer.values())
    assert right.spearman == pytest.approx(1.0)
    assert right.n_targets == len(transfer.targets)
    assert right.ceiling > 0.9
    assert rank_correlation(transfer, -transfer.values()).spearman == pytest.approx(-1.0)


def test_the_ceiling_falls_with_noise() -> None:
    clear, noisy = (
        rank_correlation(t, t.values()).ceiling for t in (made_up_transfer(), made_up_transfer(1.0))
    )
    assert math.isnan(noisy) or noisy < clear
