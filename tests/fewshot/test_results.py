"""Intervals, advice and pictures, on scores whose answer is known."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from small_problems import clouds, schools

from affinity.errors import InputError
from affinity.fewshot import (
    FewShotResult,
    OneDistribution,
    Scores,
    compare,
    few_shot_table,
    methods_for,
)
from affinity.fewshot.results import interval
from affinity.report import AdaptationCurves

FEW = methods_for(clouds(), ["from scratch", "prototypical network"])
SAME = OneDistribution(0.5, 7, 3, "nothing")


def scores(mean, validation=None, replicates=1, spread=0.01, seed=0):
    """Scores about a mean at two numbers of steps, and validation scores about another."""
    noise = torch.randn(replicates, 2, 100, generator=torch.Generator().manual_seed(seed))
    validation = mean if validation is None else validation
    return Scores(mean + spread * noise, validation + spread * noise[:, 1])


def result(score="accuracy", **methods):
    return FewShotResult(name="made up", score=score, steps=(1, 5), scores={5: methods}, check=SAME)


def test_the_interval_over_tasks_is_students():
    test = scores(0.5).test
    row = result(**{"from scratch": Scores(test, test[:, 1])}).frame().iloc[-1]
    low, high = stats.t.interval(
        0.95, 99, test[0, 1].mean().item(), stats.sem(test[0, 1].double().numpy())
    )
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["better"] == 0


def test_the_interval_over_meta_trainings_is_that_of_their_means():
    test = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1).expand(3, 2, 100)
    row = result(one=Scores(test, test[:, 1])).frame().iloc[-1]
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
    assert "better than from scratch" in apart.advice()[0]
    alike = result(
        **{
            "from scratch": scores(0.5),
            "pretrained": scores(0.9, seed=1),
            "MAML": scores(0.9, seed=2, spread=0.1),
        }
    )
    assert alike.advised(5) == "pretrained"
    nothing = result(**{"from scratch": scores(0.9), "MAML": scores(0.8)})
    assert nothing.advice() == ["5 shots: train each task from scratch, accuracy 0.899 ± 0.0017."]


def test_what_decisions_saw_and_judgement_does_not_bear_out_is_said():
    turned = result(**{"from scratch": scores(0.8, 0.5), "MAML": scores(0.6, 0.9)})
    assert turned.advised(5) == "MAML"
    assert "worse than from scratch: what was learned does not carry over" in turned.advice()[0]


def test_a_result_is_plain_json_and_a_picture(tmp_path):
    found = compare(clouds(), (1, 2), FEW, n_tasks=4, replicates=2)
    plain = json.loads(json.dumps(found.plain()))
    assert plain["replicates"] == 2
    assert plain["n_tasks"] == 4
    assert set(plain["advised"]) == {"1", "2"}
    assert len(plain["rows"]) == 2 * 2 * 2  # shots, methods, steps
    picture = AdaptationCurves.of(found, 2)
    assert picture.save(tmp_path / "curves.png").stat().st_size > 5_000
    pd.testing.assert_frame_equal(
        picture.frame().reset_index(drop=True),
        found.frame().query("shots == 2")[["method", "steps", "score", "low", "high"]]
        .reset_index(drop=True),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"shots among \[1, 2\], but got 3"):
        AdaptationCurves.of(found, 3)


def test_replicates_are_other_meta_trainings_judged_on_the_same_tasks():
    one, two = (compare(clouds(), (1,), FEW, 6, replicates) for replicates in (1, 2))
    name = "from scratch"
    assert torch.equal(one.scores[1][name].test[0], two.scores[1][name].test[0])
    assert not torch.equal(two.scores[1][name].test[0], two.scores[1][name].test[1])


def test_tasks_with_rows_of_their_own_judge_once():
    """A task that is drawn again would only seem to make the interval narrower."""
    problem = few_shot_table(schools(), "score", task_column="school")
    found = compare(problem, (2,), methods_for(problem, ["from scratch"]), n_tasks=50)
    assert found.scores[2]["from scratch"].test.shape == (1, 3, 2)  # two schools judge


def test_the_crossed_interval_covers_other_tasks_and_other_meta_trainings():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        scores = 0.3 * random.normal(size=(4, 1)) + random.normal(size=(1, 12))
        mean, half = interval(scores + 0.5 * random.normal(size=(4, 12)))
        hits += abs(mean) <= half
    assert 0.9 <= hits / 200 <= 0.99


def test_nothing_to_compare_is_refused():
    for changes, message in (
        ({"shots": ()}, "at least one method and one number of shots"),
        ({"methods": {}}, "at least one method and one number of shots"),
        ({"n_tasks": 1}, "at least two meta-test tasks"),
        ({"replicates": 0}, "one replicate"),
    ):
        with pytest.raises(InputError, match=message):
            compare(clouds(), **changes)
