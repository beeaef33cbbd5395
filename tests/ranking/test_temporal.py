"""Temporal replicates: no later day is seen, and a study can be run on them."""

import pytest
from codes import raises
from made_up_log import impressions, log

import affinity
from affinity.ranking import RankingSettings, TemporalTrainer

SMALL = RankingSettings(hidden=16, width=16, tower=8, embedding=4, buckets=128, batch_size=32)


def trainer_of(frame=None, **days) -> TemporalTrainer:
    return TemporalTrainer(impressions(frame), SMALL, **{"training": 2, **days})


def test_test_days_change_neither_training_nor_validation():
    frame = log(n_days=5)
    changed = frame.copy()
    later = changed["time"] >= 3 * 86_400
    changed.loc[later, "click"] = 1 - changed.loc[later, "click"]
    one, other = (trainer_of(f)(("click", "watch"), seed=2) for f in (frame, changed))
    assert one.validation == other.validation
    assert one.test["click"] == pytest.approx(1 - other.test["click"])
    assert set(one.test) == {"click", "watch"}


def test_seeds_are_rolling_starts():
    trainer = trainer_of(log(n_days=6))
    assert trainer.starts == 3
    assert [trainer.train(("click",), seed)[1] for seed in (0, 1, 5)] == [0, 1, 2]
    again = [trainer(("like",), seed=4).test["like"] for _ in range(2)]
    assert again[0] == again[1]
    with raises("too-few-days"):
        trainer_of(training=3)


@pytest.mark.slow
def test_a_study_decides_and_judges_in_time_order(tmp_path):
    trainer = trainer_of(log(n_days=6))
    study = affinity.Study(tmp_path, tasks=trainer.tasks, budget=2, trainings=8)
    study.run(trainer)
    audit = study.audit(trainer, replicates=2)
    assert set(audit.gains.tasks) == {"click", "watch", "like"}
