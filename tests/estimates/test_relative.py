"""Averages of relative changes, where losses come near 0 and where they do not."""

import warnings

import pytest
import torch
from codes import warns

from affinity import InterTaskAffinity, Trace
from affinity.estimates import FirstOrderAffinity

TASKS = ("many rows", "one row")


def noisy_trace(seed=0, n_steps=400):
    """Every step takes a tenth off each loss; the second is that of one row, squared."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_steps, 2, 64, generator=generator).double().square()
    losses = torch.stack([rows[:, 0].mean(dim=1), rows[:, 1, 0]], dim=1)
    noise = 0.05 * torch.randn(n_steps, 2, 2, generator=generator).double()
    after = 0.9 * losses[:, None, :] + noise
    return Trace(TASKS, torch.arange(n_steps), losses, lookahead_losses=after)


def test_the_mean_of_ratios_hangs_on_single_steps_and_the_ratio_of_means_does_not():
    errors = {"steps": [], "means": []}
    for seed in range(20):
        for ratio, found in errors.items():
            matrix = InterTaskAffinity(ratio=ratio)(noisy_trace(seed))
            found.append(abs(matrix.between("many rows", "one row") - 0.1))
    assert max(errors["means"]) < 0.02
    assert max(errors["steps"]) > 10 * max(errors["means"])


def test_the_error_of_the_ratio_of_means_covers():
    inside = []
    for seed in range(60):
        matrix = InterTaskAffinity(ratio="means")(noisy_trace(seed))
        inside.append((matrix.values - 0.1).abs() < 2 * matrix.standard_error)
    assert 0.85 <= torch.stack(inside).double().mean() <= 0.99


def test_each_target_has_the_average_that_it_needs():
    trace = noisy_trace()
    with warns("loss-near-zero"):
        chosen = InterTaskAffinity()(trace)
    steps = InterTaskAffinity(ratio="steps")(trace)
    means = InterTaskAffinity(ratio="means")(trace)
    assert torch.equal(chosen.values[:, 0], steps.values[:, 0])
    assert torch.equal(chosen.values[:, 1], means.values[:, 1])
    assert torch.equal(chosen.standard_error[:, 1], means.standard_error[:, 1])


def test_a_loss_that_falls_far_but_smoothly_keeps_the_papers_mean():
    losses = torch.logspace(0, -4, 100).double()[:, None].expand(100, 2)
    trace = Trace(
        TASKS, torch.arange(100), losses, lookahead_losses=0.5 * losses[:, None].expand(-1, 2, 2)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matrix = InterTaskAffinity()(trace)
    torch.testing.assert_close(matrix.values, torch.full((2, 2), 0.5).double())


def test_a_loss_of_exactly_zero_counts_in_the_ratio_of_means():
    losses = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).double()
    after = torch.tensor([0.5, 1.0, 0.5])[:, None, None].expand(3, 2, 2).double()
    trace = Trace(TASKS, torch.arange(3), losses, lookahead_losses=after)
    means = InterTaskAffinity(ratio="means")(trace)
    assert means.between("many rows", "one row") == 0.0  # 0.5 - 1 + 0.5 of 2
    assert means.n_steps[0, 1] == 3


def test_first_order_affinity_is_as_robust():
    trace = noisy_trace()
    fell = trace.losses[:, None, :] - trace.lookahead_losses
    trace = Trace(
        TASKS, trace.steps, trace.losses, gramians=fell, learning_rates=torch.ones(400).double()
    )
    with warns("loss-near-zero"):
        matrix = FirstOrderAffinity()(trace)
    assert matrix.between("many rows", "one row") == pytest.approx(0.1, abs=0.02)
