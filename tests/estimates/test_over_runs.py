"""Several seeds: their mean, their error, and how far they agree; and one seed over time."""

import pytest
import torch
from codes import raises

from affinity import AffinityMatrix, Trace
from affinity.estimates import GradientCosine, combine, seed_to_seed, split_half
from affinity.recording import merge_traces

TASKS = tuple("abcdef")


def run_of(signal, noise, seed, n_steps=100):
    """Gradients around a signal, which may be the seed's own."""
    generator = torch.Generator().manual_seed(seed)
    each = signal + noise * torch.randn(n_steps, 6, 30, generator=generator).double()
    return Trace(TASKS, torch.arange(n_steps), torch.ones(n_steps, 6).double(), each @ each.mT)


def signal_of(seed):
    return torch.randn(6, 30, generator=torch.Generator().manual_seed(seed)).double()


def test_the_error_over_runs_covers_what_seeds_share():
    """Each run estimates the truth with an error of its own, which its steps cannot show."""
    inside = []
    for repeat in range(30):
        generator = torch.Generator().manual_seed(repeat)
        truth = torch.randn(6, 6, generator=generator)
        runs = [
            AffinityMatrix(
                TASKS,
                truth + torch.randn(6, 6, generator=generator),
                torch.full((6, 6), 0.01),
            )
            for _ in range(8)
        ]
        combined = combine(runs)
        inside.append((combined.values - truth).abs() < 2.36 * combined.standard_error)  # t, 7 df
    assert 0.92 <= torch.stack(inside).double().mean() <= 0.98


def test_runs_that_happen_to_agree_keep_the_error_of_their_steps():
    runs = [AffinityMatrix(TASKS, torch.ones(6, 6), torch.full((6, 6), 0.5))] * 4
    torch.testing.assert_close(combine(runs).standard_error, torch.full((6, 6), 0.25).double())


def test_a_pair_is_averaged_over_the_runs_that_measured_it():
    values = torch.ones(3, 6, 6)
    values[0, 1, 2] = torch.nan
    values[:2, 3, 4] = torch.nan
    values[:, 4, 5] = torch.nan
    combined = combine([AffinityMatrix(TASKS, each) for each in values])
    assert combined.values[1, 2] == combined.values[3, 4] == 1
    assert combined.standard_error[1, 2] == 0
    assert combined.standard_error[3, 4].isnan()  # one run shows no difference between runs
    assert combined.values[4, 5].isnan()


def test_matrices_of_other_tasks_or_estimators_are_refused():
    one = AffinityMatrix(("a", "b"), torch.ones(2, 2), estimator="x")
    for other in (
        AffinityMatrix(("a", "c"), torch.ones(2, 2), estimator="x"),
        AffinityMatrix(("a", "b"), torch.ones(2, 2), estimator="y"),
    ):
        with raises("different-tasks"):
            combine([one, other])
    with raises("no-matrices"):
        combine([])


def test_split_half_tells_signal_from_noise():
    for trace, low, high in (
        (run_of(0.0, 1.0, seed=0), -1.0, 0.6),
        (run_of(signal_of(0), 1.0, seed=0), 0.9, 1.0),
    ):
        reliability = split_half(trace, GradientCosine())
        assert low <= reliability.whole <= high
        assert reliability.n_pairs == 30


def test_a_run_can_agree_with_itself_and_not_with_another_seed():
    alike = [run_of(signal_of(0), 1.0, seed) for seed in range(3)]
    apart = [run_of(signal_of(seed), 1.0, seed) for seed in range(3)]
    for run in (*alike, *apart):
        assert split_half(run, GradientCosine()).whole > 0.9
    assert seed_to_seed(alike, GradientCosine()).parts > 0.9
    assert abs(seed_to_seed(apart, GradientCosine()).parts) < 0.6


def test_more_runs_are_more_reliable_than_one():
    runs = [run_of(0.7 * signal_of(9), 1.0, seed, n_steps=30) for seed in range(4)]
    reliability = seed_to_seed(runs, GradientCosine())
    expected = 4 * reliability.parts / (1 + 3 * reliability.parts)
    assert reliability.parts < reliability.whole == pytest.approx(expected)
    assert seed_to_seed(merge_traces(runs), GradientCosine()) == reliability


def test_one_run_is_no_comparison():
    with raises("too-few-runs"):
        seed_to_seed([run_of(0.0, 1.0, seed=0)], GradientCosine())
