"""Affinities from labels and from measured pairs."""

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises
from scipy import stats

from affinity import TrainingSettings, load_digits, load_table
from affinity.estimates import (
    LabelCorrelation,
    LabelOverlap,
    LinearSurrogate,
    PairwiseGains,
    label_overlap,
    measured_gains,
)
from affinity.problems import train_networks


@pytest.fixture(scope="module")
def problem():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(200, 3)), columns=list("xyz"))
    frame["one"] = frame["x"] + random.normal(size=200)
    frame["two"] = -(frame["x"] ** 3) + random.normal(size=200)
    frame["kind"] = np.where(frame["x"] > 1, "high", np.where(frame["y"] > 0, "mid", "low"))
    frame.loc[:149, "two"] = np.nan
    settings = TrainingSettings(epochs=2)
    return load_table(frame, ["one", "two", "kind"], width=4, settings=settings)


def test_label_correlation_is_that_of_ranks(problem):
    matrix = LabelCorrelation()(problem)
    one, two, _ = problem.development.targets.T
    both = ~two.isnan()
    expected = abs(stats.spearmanr(one[both], two[both]).statistic)
    assert matrix.between("one", "two") == pytest.approx(expected)
    assert torch.equal(matrix.values, matrix.values.T)
    torch.testing.assert_close(matrix.values.diagonal(), torch.ones(3).double())
    assert matrix.between("one", "kind") > 0.2


def test_overlap_is_a_share_of_the_targets_rows(problem):
    overlap = label_overlap(problem)
    assert overlap[0, 1] == 1  # every row of "two" has "one"
    assert overlap[1, 0].item() == pytest.approx(50 / 200, abs=0.05)


def test_pairs_that_share_few_rows_are_counted_and_told(problem):
    overlap = LabelOverlap.of(problem)
    assert (overlap.n_pairs, overlap.n_below) == (3, 2)  # "two" has a label in a quarter of rows
    assert overlap.least == pytest.approx(50 / 200, abs=0.05)
    assert overlap.median == overlap.least
    assert str(overlap).startswith("2 of the 3 pairs of tasks share fewer than 30 %")
    assert str(LabelOverlap.of(load_digits())) == ""


def test_pairwise_gains_compare_pairs_with_singles(problem):
    networks = [{"one"}, {"two"}, {"kind"}, {"one", "two"}, {"one", "kind"}]
    networks = [frozenset(network) for network in networks]
    measured = train_networks(problem, networks, problem.replicates(3))
    matrix = PairwiseGains()(measured)
    loss = measured.evaluation_loss
    expected = 1 - loss[3, :, 1].mean() / loss[1, :, 1].mean()
    assert matrix.between("one", "two") == pytest.approx(expected.item())
    assert matrix.standard_error[0, 1] > 0
    assert np.isnan(matrix.between("two", "kind"))
    assert torch.equal(matrix.values.diagonal(), torch.zeros(3).double())


def test_pairwise_gains_need_the_tasks_alone(problem):
    networks = [frozenset({"one"}), frozenset({"one", "two"}), frozenset({"kind"})]
    with raises("task-not-measured-alone"):
        PairwiseGains()(train_networks(problem, networks, problem.replicates(1)))


def test_the_linear_surrogate_takes_measurements(problem):
    networks = [{"one"}, {"two"}, {"kind"}, {"one", "two"}, {"one", "kind"}, {"two", "kind"}]
    networks = [frozenset(network) for network in (*networks, {"one", "two", "kind"})]
    measured = train_networks(problem, networks, problem.replicates(2))
    predictor = LinearSurrogate(strengths=(1e-6,))(measured)
    # Three groups hold a task, and a constant and two partners fit them exactly.
    expected = measured_gains(measured)[-1].mean(dim=0).tolist()
    found = predictor.gains(networks[-1])
    assert found == pytest.approx(dict(zip(measured.tasks, expected, strict=True)), abs=1e-4)
