"""Daily training: the order of time, resumed runs, and notes on odd days."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from codes import raises, warns
from made_up_log import OBJECTIVES, impressions, log

import affinity
from affinity.ranking import DailyTrainer, RankingModel, RankingObjective, RankingSettings
from affinity.sharing import SHARINGS

SMALL = RankingSettings(hidden=16, width=16, tower=8, embedding=4, buckets=128, batch_size=16)


def states(trainer: DailyTrainer) -> dict[str, torch.Tensor]:
    return trainer.model.state_dict()


def test_a_resumed_run_is_the_same_run_bit_for_bit(tmp_path):
    whole = DailyTrainer(SMALL, every=5)
    expected = whole.train(impressions())
    for days in (slice(0, 1), slice(0, 3), slice(0, 4)):  # a new process every day
        daily = DailyTrainer(SMALL, tmp_path / "checkpoint", every=5)
        run = daily.train(impressions(), days)
    for name, value in states(whole).items():
        assert torch.equal(value, states(daily)[name]), name
    assert [d.metrics["click"] for d in expected.days[1:]] == [
        d.metrics["click"] for d in run.days[1:]
    ]
    assert torch.equal(expected.trace.gramians.nan_to_num(), run.trace.gramians.nan_to_num())
    assert expected.trace.steps.tolist() == run.trace.steps.tolist()


def test_recording_changes_nothing():
    plain, recorded = DailyTrainer(SMALL, overhead=None), DailyTrainer(SMALL, overhead=0.5)
    assert plain.train(impressions()).trace is None
    assert len(recorded.train(impressions()).trace) > 0
    for name, value in states(plain).items():
        assert torch.equal(value, states(recorded)[name]), name


def test_a_day_is_evaluated_before_it_is_trained_on():
    """Labels that turn around on the last day are predicted as before."""
    frame = log(n_days=4, rows=600)
    last = frame["time"] >= 3 * 86_400
    frame["click"] = (frame["video"] % 3 == 0).astype(float)
    frame.loc[last, "click"] = 1 - frame.loc[last, "click"]
    data = impressions(frame, [RankingObjective("click")])
    run = DailyTrainer(SMALL, overhead=None).train(data)
    assert run.days[0].metrics == {}
    assert run.days[2].metrics["click"].auc > 0.9
    assert run.days[3].metrics["click"].auc < 0.1


def test_later_days_do_not_change_earlier_results():
    frame = log()
    changed = frame.copy()
    later = changed["time"] >= 3 * 86_400
    changed.loc[later, ["click", "like"]] = 1.0
    changed.loc[later, "length"] = 1e6
    runs = [DailyTrainer(SMALL, overhead=None).train(impressions(f)) for f in (frame, changed)]
    for a, b in zip(*(run.days[1:3] for run in runs), strict=True):
        assert repr(a.metrics) == repr(b.metrics)  # NaN equals NaN


def test_a_day_without_labels_is_noted_and_left_out():
    frame = log()
    frame.loc[frame["time"].between(86_400, 2 * 86_400 - 1), "like"] = np.nan
    run = DailyTrainer(SMALL, every=5).train(impressions(frame))
    assert [note.task for note in run.days[1].notes if note.code == "no-labels"] == ["like"]
    assert "like" not in run.days[1].metrics
    assert "like" in run.days[2].metrics
    assert all(math.isfinite(day.metrics["click"].loss) for day in run.days[1:])


def test_users_and_positions_never_met_are_noted():
    frame = log()
    frame.loc[frame["time"] >= 3 * 86_400, "user"] += 20  # 10 of 30 are new
    frame.loc[frame.index[-5:], "position"] = 9
    run = DailyTrainer(SMALL, overhead=None).train(impressions(frame))
    (new,) = [note for note in run.days[3].notes if note.code == "new-users"]
    (unseen,) = [note for note in run.days[3].notes if note.code == "unseen-position"]
    assert run.days[3].new_users == 20
    assert new.value == pytest.approx((frame["user"][-300:] >= 30).mean())
    assert unseen.value == 5 / 300
    assert not [note for note in run.days[2].notes if note.code == "new-users"]


def test_labels_known_too_late_are_not_trained_on():
    """The head of an objective whose labels are all late stays as it was initialized."""
    frame = log()
    frame["known"] = frame["time"] + 3 * 86_400
    data = impressions(frame, OBJECTIVES[:2], known_at={"watch": "known"})
    trainer = DailyTrainer(SMALL, overhead=None)
    run = trainer.train(data)
    assert [note.code for note in run.notes] == ["late-labels"]
    torch.manual_seed(SMALL.seed)
    untrained = RankingModel(OBJECTIVES[:2], ["user", "video"], ["length"], SMALL).sharing
    for before, after in zip(untrained.heads, trainer.model.sharing.heads, strict=True):
        is_trained = not torch.equal(before[2].weight, after[2].weight)
        assert is_trained == (after is trainer.model.sharing.heads[0])


def test_checkpoints_of_other_runs_and_days_are_refused(tmp_path):
    path = tmp_path / "checkpoint"
    DailyTrainer(SMALL, path).train(impressions(), slice(1, 3))
    with raises("other-training"):
        DailyTrainer(replace(SMALL, hidden=9), path).train(impressions())
    with raises("no-new-days"):
        DailyTrainer(SMALL, path).train(impressions(), slice(1, 3))
    with raises("day-before-checkpoint"):
        DailyTrainer(SMALL, path).train(impressions())
    with raises("day-before-checkpoint"):  # a log of the first day alone
        DailyTrainer(SMALL, path).train(impressions(log(n_days=1)))
    with raises("buckets-differ"):
        DailyTrainer(SMALL).train(impressions(buckets=64))
    with raises("no-new-days"):
        DailyTrainer(SMALL).train(impressions(), slice(8, 9))
    with raises("invalid-days"):
        DailyTrainer(SMALL).train(impressions(), 3)
    with raises("out-of-range"):
        DailyTrainer(SMALL, every=0).train(impressions())


def test_impressions_that_came_after_their_day_was_trained_on_are_told(tmp_path):
    frame = log()
    at_noon = impressions(frame[frame["time"] < 1.5 * 86_400])
    DailyTrainer(SMALL, tmp_path / "checkpoint").train(at_noon)
    with warns("day-not-over"):
        run = DailyTrainer(SMALL, tmp_path / "checkpoint").train(impressions(frame))
    assert [day.rows for day in run.days] == [300, 150, 300, 300]


def test_a_run_is_saved_and_loaded(tmp_path):
    run = DailyTrainer(SMALL, every=5).train(impressions())
    loaded = affinity.load(affinity.save(run, tmp_path / "run"))
    assert loaded.objectives == run.objectives
    assert loaded.settings == run.settings
    assert repr(loaded.days[2].metrics) == repr(run.days[2].metrics)  # NaN equals NaN
    assert torch.equal(loaded.days[2].utilization, run.days[2].utilization)
    assert loaded.mean("auc") == run.mean("auc")
    assert loaded.recording == run.recording


@pytest.mark.parametrize("sharing", SHARINGS)
def test_every_way_to_share_is_trained_daily(sharing):
    settings = replace(SMALL, sharing=sharing, depth=2)
    run = DailyTrainer(settings, every=20).train(impressions())
    assert run.mean("auc")["click"] > 0.53
    assert run.trace is not None
    assert min(run.cost.parameters, run.cost.multiply_adds) > 1000


def test_a_product_predicts_the_joint_probability_over_all_impressions():
    """Planted: one user likes two of three videos that it clicks, the other one in ten."""
    objectives = [RankingObjective("click"), RankingObjective("like", after="click", product=True)]
    random = np.random.default_rng(0)
    frame = log(n_days=4, rows=1000)
    frame["user"], frame["video"] = frame["user"] % 2, frame["video"] % 3
    clicked = random.random(len(frame)) < np.where(frame["video"] == 0, 0.8, 0.2)
    liked = random.random(len(frame)) < np.where(frame["user"], 2 / 3, 0.1)
    frame["click"], frame["like"] = clicked.astype(float), (clicked & liked).astype(float)
    trainer = DailyTrainer(SMALL, overhead=None)
    data = impressions(frame, objectives)
    trainer.train(data)
    prediction = trainer.model.predict(data)["like"]
    for user, of_user in ((0, 0.1), (1, 2 / 3)):
        for video, of_video in ((0, 0.8), (1, 0.2)):
            rows = (frame["user"] == user) & ((frame["video"] == 0) == (video == 0))
            mean = prediction[torch.tensor(rows.to_numpy())].mean().item()
            assert mean == pytest.approx(of_user * of_video, abs=0.07)
