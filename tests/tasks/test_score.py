"""The laws that every comparison of scores keeps."""

import numpy as np
import pytest
import torch
from codes import raises
from hypothesis import assume, given
from hypothesis import strategies as st

from affinity import Score
from affinity.tasks.score import MATTERS, weights_of

scores = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
ways = st.sampled_from([True, False])


@given(scores, scores, ways)
def test_maximize_and_minimize_mirror_each_other(score: float, baseline: float, way: bool) -> None:
    larger, smaller = Score("maximize", relative=way), Score("minimize", relative=way)
    assert larger.gain(score, baseline) == -smaller.gain(score, baseline)
    assert larger.gain(score, baseline) == smaller.gain(-score, -baseline)


@given(scores, scores, ways)
def test_the_better_score_has_the_gain_above_0(score: float, baseline: float, way: bool) -> None:
    gain = Score("minimize", relative=way).gain(score, baseline)
    assert np.isfinite(gain)
    assert (gain > 0, gain == 0) == (score < baseline, score == baseline)


@given(scores, scores, st.sampled_from([0.5, 2.0, 1024.0]))
def test_relative_gains_ignore_the_scale_of_scores(
    score: float, baseline: float, factor: float
) -> None:
    relative = Score("minimize", relative=True)
    assert relative.gain(factor * score, factor * baseline) == relative.gain(score, baseline)


whole = st.integers(-999, 999).map(float)


@given(whole, whole, whole)
def test_differences_ignore_a_constant(score: float, baseline: float, constant: float) -> None:
    metric = Score("maximize")
    assert metric.gain(score + constant, baseline + constant) == metric.gain(score, baseline)


@given(scores, ways)
def test_a_baseline_of_0_has_gains_of_at_most_1(score: float, way: bool) -> None:
    assume(score != 0)
    gain = Score("maximize", relative=way).gain(score, 0.0)
    assert gain == (np.sign(score) if way else score)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
@pytest.mark.parametrize("way", [True, False])
def test_arrays_are_compared_entry_by_entry(kind: type, way: bool) -> None:
    score, baseline = [1.0, -2.0, 0.0, 3.0], [2.0, -1.0, 0.0, 0.0]
    metric = Score("maximize", relative=way)
    gains = metric.gain(kind(score), kind(baseline))
    assert gains.tolist() == [metric.gain(s, b) for s, b in zip(score, baseline, strict=True)]


def test_losses_are_compared_relatively_and_metrics_by_differences() -> None:
    assert Score("minimize").is_relative
    assert not Score("maximize").is_relative
    assert not Score("minimize", unit=0.5).is_relative  # half a minute, not half of it
    assert Score("maximize", unit=0.05, relative=True).is_relative


def test_one_unit_of_every_task_counts_the_same() -> None:
    tasks = {"auc": Score("maximize", unit=0.001), "minutes": Score("minimize", unit=5.0)}
    weights = weights_of(tasks)
    assert weights["auc"] * tasks["auc"].gain(0.701, 0.7) == pytest.approx(MATTERS)
    assert weights["minutes"] * tasks["minutes"].gain(10.0, 15.0) == pytest.approx(MATTERS)


def test_weights_average_to_1() -> None:
    weights = weights_of({"a": Score("minimize", weight=3.0), "b": Score("minimize")})
    assert weights == {"a": 1.5, "b": 0.5}


def test_invalid_scores_are_refused() -> None:
    with raises("unknown-direction"):
        Score.of("higher")
    for unit in (0.0, -1.0, float("nan"), float("inf")):
        with raises("invalid-unit"):
            Score("maximize", unit=unit)
        with raises("invalid-weight"):
            Score("maximize", weight=unit)
