"""Laws that every estimator keeps, and its standard error."""

import pytest
import torch

from affinity import ESTIMATORS, InterTaskAffinity, Trace
from affinity.estimates.averaging import average_over_time

TASKS = ("depth", "edges", "keypoints", "normals")


def make_trace(n_steps=40, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    gradients = torch.randn(n_steps, 4, 6, generator=generator).double()
    losses = 1 + torch.rand(n_steps, 4, generator=generator).double()
    gramians = gradients @ gradients.mT
    return Trace(
        tasks=TASKS,
        steps=torch.arange(n_steps),
        losses=losses * scale,
        gramians=gramians * scale**2,
        lookahead_losses=(losses[:, None, :] - 0.01 * gramians) * scale,
    )


def reordered(trace, order):
    return Trace(
        tasks=tuple(trace.tasks[at] for at in order),
        steps=trace.steps,
        losses=trace.losses[:, order],
        gramians=trace.gramians[:, order][:, :, order],
        lookahead_losses=trace.lookahead_losses[:, order][:, :, order],
    )


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return ESTIMATORS[request.param]()


def test_reordering_the_tasks_reorders_the_matrix(estimator):
    order = [2, 0, 3, 1]
    matrix = estimator(make_trace())
    turned = estimator(reordered(make_trace(), order))
    assert turned.tasks == tuple(TASKS[at] for at in order)
    torch.testing.assert_close(turned.values, matrix.values[order][:, order])
    torch.testing.assert_close(turned.standard_error, matrix.standard_error[order][:, order])


def test_the_unit_of_the_losses_does_not_matter(estimator):
    matrix, scaled = estimator(make_trace()), estimator(make_trace(scale=4.0))
    torch.testing.assert_close(scaled.values, matrix.values)


def test_missing_steps_are_left_out(estimator):
    trace = make_trace()
    for array in (trace.losses, trace.gramians, trace.lookahead_losses):
        array[::2] = torch.nan
    half = estimator(trace)
    assert torch.all(half.n_steps == 20)
    assert half.values.isfinite().all()
    short = Trace(
        tasks=TASKS,
        steps=trace.steps[1::2],
        losses=trace.losses[1::2],
        gramians=trace.gramians[1::2],
        lookahead_losses=trace.lookahead_losses[1::2],
    )
    torch.testing.assert_close(half.values, estimator(short).values)


def test_a_pair_that_was_never_measured_is_missing_not_zero(estimator):
    trace = make_trace()
    trace.gramians[:, 1, 2] = torch.nan
    trace.lookahead_losses[:, 1, 2] = torch.nan
    matrix = estimator(trace)
    assert torch.isnan(matrix.values[1, 2])
    assert matrix.n_steps[1, 2] == 0
    assert matrix.values.isnan().sum() == 1


def test_the_error_is_unknown_from_one_measurement(estimator):
    matrix = estimator(make_trace(n_steps=1))
    assert matrix.values.isfinite().all()
    assert matrix.standard_error.isnan().all()


def test_the_same_trace_gives_the_same_matrix(estimator):
    first, second = estimator(make_trace()), estimator(make_trace())
    assert torch.equal(first.standard_error, second.standard_error)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_standard_error_covers_the_mean(correlation):
    """The interval of two errors holds the true mean 0 in about 95 % of series."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(400, 200, generator=generator).double()
    series = noise.clone()
    for at in range(1, 200):
        series[:, at] = correlation * series[:, at - 1] + noise[:, at]
    values = series.T[:, :, None]  # each series is one pair
    matrix_of = average_over_time(
        values[:, :400].reshape(200, 20, 20), tuple(map(str, range(20))), estimator="test"
    )
    covered = (matrix_of.values.abs() < 2 * matrix_of.standard_error).double().mean()
    assert 0.80 <= covered <= 0.99


def test_lookahead_needs_a_closure():
    trace = Trace(tasks=("a",), steps=torch.tensor([0]), losses=torch.ones(1, 1))
    with pytest.raises(ValueError, match="pass a closure"):
        InterTaskAffinity()(trace)
