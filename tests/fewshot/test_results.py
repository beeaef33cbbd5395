"""Intervals, advice and pictures, on scores whose answer is known."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises
from scipy import stats
from small_problems import clouds, schools

from affinity.fewshot import (
    METHODS,
    DistributionShift,
    FewShotResult,
    MethodScores,
    compare_few_shot,
    few_shot_table,
    methods_for,
)
from affinity.fewshot.results import mean_and_half_width
from affinity.report import AdaptationCurves
from affinity.storage import load, save, to_jsonable

FEW = methods_for(clouds(), ["from scratch", "prototypical network"])
NO_SHIFT = DistributionShift(0.5, 7, 3, "nothing")


def scores(mean, validation=None, replicates=1, spread=0.01, seed=0):
    """Scores about a mean at two numbers of steps, and validation scores about another."""
    noise = torch.randn(replicates, 2, 100, generator=torch.Generator().manual_seed(seed))
    validation = mean if validation is None else validation
    return MethodScores(mean + spread * noise, validation + spread * noise[:, 1])


def result(score="accuracy", **methods):
    return FewShotResult(
        name="made up", score=score, steps=(1, 5), scores={5: methods}, shift=NO_SHIFT
    )


def test_the_interval_over_tasks_is_students():
    test = scores(0.5).test
    row = result(**{"from scratch": MethodScores(test, test[:, 1])}).frame().iloc[-1]
    low, high = stats.t.interval(
        0.95, 99, test[0, 1].mean().item(), stats.sem(test[0, 1].double().numpy())
    )
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["better"] == 0


def test_the_interval_over_meta_trainings_is_that_of_their_means():
    test = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1).expand(3, 2, 100)
    row = result(one=MethodScores(test, test[:, 1])).frame().iloc[-1]
    assert row["score"] == pytest.approx(0.5)
    assert row["high"] - row["score"] == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)


def test_differences_are_paired_and_up_is_better_for_losses_too():
    low, high = scores(1.0, spread=0.5), scores(1.2, spread=0.5)  # the same noise
    row = result("loss", **{"from scratch": high, "MAML": low}).frame().query("method == 'MAML'")
    assert row["better"].tolist() == pytest.approx([0.2, 0.2], rel=1e-4)
    assert (row["better_high"] - row["better_low"]).max() < 1e-6
    assert (row["high"] - row["low"]).min() > 0.1


def test_the_simplest_method_that_is_not_shown_to_be_worse_is_advised():
    apart = result(**{"from scratch": scores(0.5), "pretrained": scores(0.7), "MAML": scores(0.9)})
    assert apart.advised(5) == "MAML"
    assert "use MAML, accuracy 0.899" in apart.advice()[0]
    close = result(
        **{
            "from scratch": scores(0.5),
            "pretrained": scores(0.9, seed=1),
            "MAML": scores(0.9, seed=2, spread=0.1),
        }
    )
    assert close.advised(5) == "pretrained"
    nothing = result(**{"from scratch": scores(0.9), "MAML": scores(0.8)})
    assert nothing.advised(5) == "from scratch"
    assert "0.899 ± 0.0017" in nothing.advice()[0]


def test_a_linear_model_is_simpler_than_a_network_from_scratch():
    noisy = scores(0.5, spread=5.0)
    methods = {name: noisy for name in METHODS if name in ("from scratch", "linear model")}
    assert result(**methods).advised(5) == "linear model"


def test_an_advised_method_that_is_worse_on_meta_test_tasks_is_flagged():
    turned = result(**{"from scratch": scores(0.8, 0.5), "MAML": scores(0.6, 0.9)})
    assert turned.advised(5) == "MAML"
    assert "worse than from scratch" in turned.advice()[0]


def test_a_result_is_saved_and_loaded_and_summarized_as_json_and_a_picture(tmp_path):
    found = compare_few_shot(clouds(), (1, 2), FEW, n_tasks=4, replicates=2)
    summary = found.summary()
    plain = json.loads(json.dumps(to_jsonable(summary), allow_nan=False))
    assert plain["replicates"] == 2
    assert plain["n_tasks"] == 4
    assert set(plain["advised"]) == {"1", "2"}
    assert len(plain["rows"]) == 2 * 2 * 2  # shots, methods, steps
    assert load(save(found, tmp_path / "few.safetensors")).summary() == summary
    picture = AdaptationCurves.from_summary(summary, 2)
    assert picture.save(tmp_path / "curves.png").stat().st_size > 5_000
    pd.testing.assert_frame_equal(
        picture.frame().reset_index(drop=True),
        found.frame().query("shots == 2")[["method", "steps", "score", "low", "high"]]
        .reset_index(drop=True),
    )  # fmt: skip
    with raises("unknown-shots"):
        AdaptationCurves.from_summary(summary, 3)


def test_replicates_are_other_meta_trainings_judged_on_the_same_tasks():
    one, two = (compare_few_shot(clouds(), (1,), FEW, 6, replicates) for replicates in (1, 2))
    name = "from scratch"
    assert torch.equal(one.scores[1][name].test[0], two.scores[1][name].test[0])
    assert not torch.equal(two.scores[1][name].test[0], two.scores[1][name].test[1])


def test_tasks_with_rows_of_their_own_judge_once():
    """A task that is drawn again would only seem to make the interval narrower."""
    problem = few_shot_table(schools(), "score", task_column="school")
    found = compare_few_shot(problem, (2,), methods_for(problem, ["from scratch"]), n_tasks=50)
    assert found.scores[2]["from scratch"].test.shape == (1, 3, 2)  # two schools judge


def test_the_crossed_interval_covers_other_tasks_and_other_meta_trainings():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        scores = 0.3 * random.normal(size=(4, 1)) + random.normal(size=(1, 12))
        mean, half = mean_and_half_width(scores + 0.5 * random.normal(size=(4, 12)))
        hits += abs(mean) <= half
    assert 0.9 <= hits / 200 <= 0.99


def test_nothing_to_compare_is_refused():
    for changes, code in (
        ({"shots": ()}, "nothing-to-compare"),
        ({"methods": {}}, "nothing-to-compare"),
        ({"n_tasks": 1}, "too-few-tasks"),
        ({"replicates": 0}, "too-few-replicates"),
    ):
        with raises(code):
            compare_few_shot(clouds(), **changes)
