"""Laws that every estimator keeps, and its standard error."""

from dataclasses import fields, replace

import pytest
import torch
from codes import raises

from affinity import (
    ESTIMATORS,
    AffinityMatrix,
    InterTaskAffinity,
    Trace,
    load,
    recommend,
    save,
    solve,
)
from affinity.estimates import (
    FirstOrderAffinity,
    GradientConflict,
    GradientCosine,
    MomentumAffinity,
    SignalCosine,
)
from affinity.estimates.averaging import average_over_time
from affinity.recording import merge_traces

ORDER = [1, 0, 3, 2]
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
        held_out_losses=losses * scale,
        held_out_lookahead_losses=(losses[:, None, :] - 0.02 * gramians) * scale,
        held_out_gramians=(gramians + 0.1 * gramians[:, ORDER][:, :, ORDER]) * scale**2,
        learning_rates=torch.full((n_steps,), 0.01 / scale).double(),
        momentum_products=gramians.sum(dim=1) * scale**2,
        optimizer_steps=torch.ones(n_steps, dtype=torch.bool),
    )


def reordered(trace, order):
    return Trace(
        tasks=tuple(trace.tasks[at] for at in order),
        steps=trace.steps,
        losses=trace.losses[:, order],
        gramians=trace.gramians[:, order][:, :, order],
        lookahead_losses=trace.lookahead_losses[:, order][:, :, order],
        held_out_losses=trace.held_out_losses[:, order],
        held_out_lookahead_losses=trace.held_out_lookahead_losses[:, order][:, :, order],
        held_out_gramians=trace.held_out_gramians[:, order][:, :, order],
        learning_rates=trace.learning_rates,
        momentum_products=trace.momentum_products[:, order],
        optimizer_steps=trace.optimizer_steps,
    )


def with_layer(trace):
    return replace(trace, layers=("trunk",), layer_gramians=trace.gramians[:, None])


def pairwise(trace):
    return (
        trace.gramians,
        trace.lookahead_losses,
        trace.held_out_gramians,
        trace.held_out_lookahead_losses,
    )


@pytest.fixture(params=ESTIMATORS)
def estimator(request):
    return ESTIMATORS[request.param]()


def test_every_estimate_is_saved_loaded_listed_and_planned(estimator, tmp_path):
    matrix = estimator(make_trace())
    assert matrix.estimator == repr(estimator)
    loaded = load(save(matrix, tmp_path / "affinity.safetensors"))
    listed = AffinityMatrix.from_frame(matrix.frame(), matrix.estimator)
    for again in (loaded, listed):
        assert (again.tasks, again.estimator) == (matrix.tasks, matrix.estimator)
        assert again.values.equal(matrix.values)
        assert again.standard_error.equal(matrix.standard_error)
    plan = recommend(matrix, solve(matrix, 2))
    assert plan.provenance.estimator == matrix.estimator


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
    for array in (trace.losses, trace.held_out_losses, *pairwise(trace)):
        array[::2] = torch.nan
    half = estimator(trace)
    assert torch.all(half.n_steps == 20)
    assert half.values.isfinite().all()
    arrays = {
        field.name: value[1::2]
        for field in fields(trace)
        if isinstance(value := getattr(trace, field.name), torch.Tensor)
    }
    torch.testing.assert_close(half.values, estimator(Trace(TASKS, **arrays)).values)


def test_a_pair_that_was_never_measured_is_missing_not_zero(estimator):
    trace = make_trace()
    for array in pairwise(trace):
        array[:, 1, 2] = array[:, 2, 1] = torch.nan
    matrix = estimator(trace)
    assert torch.isnan(matrix.values[[1, 2], [2, 1]]).all()
    assert (matrix.n_steps[[1, 2], [2, 1]] == 0).all()
    assert matrix.values.isnan().sum() == 2


def test_the_error_is_unknown_from_one_measurement(estimator):
    matrix = estimator(make_trace(n_steps=1))
    assert matrix.values.isfinite().all()
    assert matrix.standard_error.isnan().all()


def test_the_same_trace_gives_the_same_matrix(estimator):
    first, second = estimator(make_trace()), estimator(make_trace())
    assert torch.equal(first.standard_error, second.standard_error)


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.93), (0.6, 0.89), (0.8, 0.85)])
def test_the_standard_error_covers_the_mean(correlation, least):
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
    assert least <= covered <= 0.99


WINDOWS = [("early", slice(13)), ("late", slice(27, 40)), ((10, 30), slice(10, 30))]


@pytest.mark.parametrize(("window", "times"), WINDOWS)
def test_a_window_is_the_run_cut_to_it(estimator, window, times):
    trace = make_trace()
    windowed = replace(estimator, window=window)(trace)
    expected = estimator(trace.at(torch.arange(40)[times]))
    torch.testing.assert_close(windowed.values, expected.values)
    torch.testing.assert_close(windowed.standard_error, expected.standard_error)


def test_a_window_without_measurements_is_told(estimator):
    with raises("missing-in-trace"):
        replace(estimator, window=(50, None))(make_trace())


def test_several_runs_are_averaged_each_within_its_window(estimator):
    runs = [make_trace(seed=seed) for seed in range(3)]
    early = replace(estimator, window="early")
    matrix = early(merge_traces(runs))
    each = torch.stack([early(run).values for run in runs])
    torch.testing.assert_close(matrix.values, each.mean(dim=0))
    assert torch.all(matrix.n_steps == 3 * 13)
    assert torch.all(matrix.standard_error >= each.std(dim=0) / 3**0.5 - 1e-12)


def test_a_layer_that_is_the_whole_gives_the_same():
    trace = with_layer(make_trace())
    for whole in (GradientCosine(), GradientConflict(), FirstOrderAffinity()):
        torch.testing.assert_close(replace(whole, layer="trunk")(trace).values, whole(trace).values)
        with raises("unknown-layer"):
            replace(whole, layer="trunk")(make_trace())


def test_lookahead_needs_a_closure():
    trace = Trace(tasks=("a",), steps=torch.tensor([0]), losses=torch.ones(1, 1))
    with raises("missing-in-trace"):
        InterTaskAffinity()(trace)


def test_first_order_is_the_lookahead_at_small_steps():
    trace = make_trace()
    first, exact = FirstOrderAffinity()(trace), InterTaskAffinity()(trace)
    torch.testing.assert_close(first.values, exact.values)


def test_without_momentum_etap_is_first_order():
    trace = make_trace()
    still = replace(trace, momentum_products=torch.zeros(40, 4).double())
    torch.testing.assert_close(MomentumAffinity()(still).values, FirstOrderAffinity()(trace).values)


def test_momentum_moves_targets_and_keeps_the_order_of_their_sources():
    trace = make_trace()
    moved = MomentumAffinity()(trace).values - FirstOrderAffinity()(trace).values
    torch.testing.assert_close(moved, moved[:1].expand(4, 4))
    assert moved.abs().min() > 0


def test_momentum_needs_the_optimizer():
    with raises("missing-in-trace"):
        MomentumAffinity()(replace(make_trace(), momentum_products=None))


def test_a_step_can_be_asked_for():
    trace = make_trace()
    for own in (torch.zeros(40, dtype=torch.bool), None):
        plain = replace(trace, optimizer_steps=own)
        assert InterTaskAffinity(step="gradient")(plain).values.isfinite().all()
        with raises("missing-in-trace"):
            InterTaskAffinity(step="optimizer")(plain)
    with raises("missing-in-trace"):
        InterTaskAffinity(step="gradient")(trace)


def noisy_trace(n_steps, noise, seed=0):
    """Gradients of two tasks with cosine 0.5, and noise that both tasks share."""
    generator = torch.Generator().manual_seed(seed)
    signal = torch.tensor([[1.0, 0, 0], [0.5, 0.75**0.5, 0]]).double()
    one, other = (
        signal + noise * torch.randn(n_steps, 1, 3, generator=generator).double() for _ in "gh"
    )
    return Trace(
        tasks=("a", "b"),
        steps=torch.arange(n_steps),
        losses=torch.ones(n_steps, 2).double(),
        gramians=one @ one.mT,
        held_out_gramians=one @ other.mT,
    )


def test_the_signal_cosine_is_free_of_shared_noise():
    trace = noisy_trace(4000, noise=1.0)
    assert GradientCosine()(trace).between("a", "b") > 0.7  # the noise of a batch looks like help
    matrix = SignalCosine()(trace)
    error = matrix.standard_error[0, 1].item()
    assert abs(matrix.between("a", "b") - 0.5) < 3 * error < 0.3


def test_the_error_of_the_signal_cosine_covers():
    inside = 0
    for seed in range(100):
        matrix = SignalCosine()(noisy_trace(400, noise=0.5, seed=seed))
        inside += abs(matrix.between("a", "b") - 0.5) < 2 * matrix.standard_error[0, 1].item()
    assert 85 <= inside <= 100
