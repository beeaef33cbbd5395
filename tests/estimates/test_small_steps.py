"""At small steps a lookahead is an inner product of gradients."""

import pytest
import torch
from scipy import stats

from affinity import InterTaskAffinity, Recorder, TrainingSettings, record
from affinity.estimates import FirstOrderAffinity, MomentumAffinity
from affinity.problems import planted


def agreement(one, other):
    off = ~torch.eye(len(one.tasks), dtype=torch.bool)
    return stats.spearmanr(one.values[off], other.values[off]).statistic


@pytest.fixture(scope="module")
def trace():
    settings = TrainingSettings(epochs=6, batch_size=32, learning_rate=2e-3)
    return record(planted(n_rows=200).with_settings(settings), every=3, held_out=True)


@pytest.mark.parametrize("held_out", [False, True])
def test_first_order_agrees_with_the_lookahead_at_small_steps(trace, held_out):
    first = FirstOrderAffinity(held_out=held_out, ratio="means")(trace)
    assert agreement(first, InterTaskAffinity(held_out=held_out, ratio="means")(trace)) > 0.99
    assert trace.first_order_error() < 0.05


def test_each_measurement_agrees_too(trace):
    for at in range(0, len(trace), 4):
        one = trace.at(torch.tensor([at]))
        found = [each(ratio="means")(one) for each in (FirstOrderAffinity, InterTaskAffinity)]
        assert agreement(*found) > 0.99


def test_large_steps_part_them():
    """So that the law above says something: curvature decides when steps are long."""
    torch.manual_seed(0)
    trunk, heads = torch.nn.Linear(6, 4), torch.nn.ModuleList(torch.nn.Linear(4, 1) for _ in "abcd")
    inputs, targets = torch.randn(64, 6), torch.randn(64, 4)

    def losses():
        shared = trunk(inputs).tanh()
        return {
            name: (head(shared)[:, 0] - targets[:, at]).square().mean()
            for at, (name, head) in enumerate(zip("abcd", heads, strict=True))
        }

    found = {}
    for rate in (1e-3, 30.0):
        recorder = Recorder(shared=trunk, learning_rate=rate, lookahead_every=1)
        recorder.observe(losses(), closure=losses)
        trace = recorder.trace()
        found[rate] = agreement(FirstOrderAffinity()(trace), InterTaskAffinity()(trace))
    assert found[1e-3] > 0.99
    assert found[30.0] < 0.9


def test_a_recorded_run_of_a_problem_knows_its_momentum(trace):
    assert trace.momentum_products.isfinite().all()
    assert MomentumAffinity(ratio="means")(trace).values.isfinite().all()
