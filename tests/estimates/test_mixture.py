"""Mixture regression: files, the control by the own share, and what is left."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from codes import raises, warns

from affinity.estimates import MixtureRegression, MixtureRuns

PUBLISHED = Path(__file__).parents[2].parent / "shared/data/published/regmix2024"


def runs(n_runs=80, seed=0, helps=0.0, noise=0.01):
    """The loss of a falls with its own share, and with that of b if it helps."""
    generator = np.random.default_rng(seed)
    shares = generator.dirichlet(np.ones(4), size=n_runs)
    losses = 3 - shares[:, :1] - helps * shares[:, 1:2]
    losses = losses + noise * generator.normal(size=losses.shape)
    return MixtureRuns(("a", "b", "c", "d"), ("a",), shares, losses)


@pytest.mark.parametrize(("helps", "low", "high"), [(0.0, -0.4, 0.4), (0.7, 0.8, 1.0)])
def test_what_the_own_share_explains_is_no_interaction(helps, low, high):
    (fit,) = MixtureRegression(runs(helps=helps)).check(runs(seed=1, helps=helps))
    assert fit.full > 0.9
    assert fit.own_share > 0.6
    assert low < fit.rest < high


def test_another_scale_counts_by_order_only():
    learned = MixtureRegression(runs(helps=0.7))
    other = runs(seed=1, helps=0.7)
    scaled = MixtureRuns(other.sources, other.targets, other.shares, np.exp(5 * other.losses))
    assert learned.check(scaled)[0].full == pytest.approx(learned.check(other)[0].full)


def test_the_best_mixture_has_what_helps():
    measured = runs(helps=0.7)
    best = MixtureRegression(measured).best_mixture()
    assert sum(best.values()) == pytest.approx(1)
    loss = 3 - best["a"] - 0.7 * best["b"]
    assert loss < np.quantile(measured.losses, 0.1)


def test_the_best_mixture_of_losses_below_0_is_that_of_the_same_losses_above_0():
    above = runs(helps=0.7)
    below = MixtureRuns(above.sources, above.targets, above.shares, above.losses - 6)
    shares = [MixtureRegression(each).best_mixture() for each in (above, below)]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"averaged": 0}, "out-of-range"),
        ({"candidates": 0}, "out-of-range"),
        ({"weights": {"a": float("nan")}}, "invalid-weight"),
        ({"weights": {"a": -1.0}}, "invalid-weight"),
    ],
)
def test_a_best_mixture_of_nothing_is_refused(settings, code):
    with raises(code):
        MixtureRegression(runs()).best_mixture(**settings)


def test_files_are_written_and_read_again(tmp_path):
    ratios, metrics = tmp_path / "ratios.csv", tmp_path / "metrics.csv"
    runs(n_runs=12).write(ratios, metrics)
    again = MixtureRuns.read(ratios, metrics)
    assert (again.sources, again.targets) == (("a", "b", "c", "d"), ("a",))
    np.testing.assert_allclose(again.losses, runs(n_runs=12).losses)
    odd = ("web_loss", "train_set", 'a "b", c')
    some = MixtureRuns(odd, odd[::-1], np.eye(3), np.ones((3, 3)))
    some.write(tmp_path / "odd_ratios.csv", tmp_path / "odd_metrics.csv")
    read = MixtureRuns.read(tmp_path / "odd_ratios.csv", tmp_path / "odd_metrics.csv")
    assert (read.sources, read.targets) == (odd, odd[::-1])
    pd.read_csv(metrics).iloc[::-1].to_csv(metrics, index=False)
    np.testing.assert_allclose(MixtureRuns.read(ratios, metrics).losses, again.losses)
    pd.read_csv(metrics).iloc[1:].to_csv(metrics, index=False)
    with raises("missing-run"):
        MixtureRuns.read(ratios, metrics)
    with raises("cannot-read"):
        MixtureRuns.read(tmp_path / "none.csv", metrics)
    pd.read_csv(ratios).astype(str).replace("0", "x").assign(train_a="x").to_csv(ratios)
    with raises("not-a-number"):
        MixtureRuns.read(ratios, metrics)


def test_runs_that_make_no_sense_are_refused():
    good = runs(n_runs=20)
    with raises("invalid-share"):
        MixtureRuns(good.sources, good.targets, 2 * good.shares, good.losses)
    with raises("wrong-shape"):
        MixtureRuns(good.sources, good.targets, good.shares[:, :3], good.losses)
    missing = MixtureRuns(good.sources, ("a",), good.shares, np.full((20, 1), np.nan))
    with raises("too-few-runs"):
        MixtureRegression(missing)
    with warns("few-runs"):
        MixtureRegression(runs(n_runs=5), trees=2)
    learned = MixtureRegression(good, trees=2)
    with raises("unknown-task"):
        learned.best_mixture({"x": 1.0})
    with raises("unknown-task"):
        learned.check(MixtureRuns(tuple("wxyz"), ("a",), good.shares, good.losses))


@pytest.mark.skipif(not PUBLISHED.exists(), reason="needs the published mixtures")
def test_published_mixtures():
    def read(mixture, loss):
        return MixtureRuns.read(PUBLISHED / f"{mixture}.csv.gz", PUBLISHED / f"{loss}.csv.gz")

    small = read("train_mixture_1m", "train_pile_loss_1m")
    few = MixtureRuns(small.sources, small.targets, small.shares[:68], small.losses[:68])
    fits = MixtureRegression(few, trees=20).check(read("test_mixture_1B", "test_pile_loss_1B"))
    own = np.mean([fit.own_share for fit in fits])
    assert own == pytest.approx(0.94, abs=0.01)
    assert np.mean([fit.rest for fit in fits]) < 0.7 < own
