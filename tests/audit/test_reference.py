"""Gradient boosting stands next to the networks, and is said to win where it wins."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from affinity import load, load_table, save
from affinity.audit import retrain
from affinity.audit.reference import train_reference
from affinity.recommendation import Plan
from affinity.report.alerts import find_alerts
from affinity.training import TrainingSettings


def steps(n_rows=600, share_missing=0.2):
    """Targets that trees learn and small networks do not."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.uniform(size=(n_rows, 3)), columns=list("abc"))
    frame["steps"] = (6 * frame["a"]).astype(int) % 2 + 0.1 * random.normal(size=n_rows)
    frame["odd"] = (6 * frame["b"]).astype(int) % 2.0
    frame["kind"] = ((6 * frame["c"]).astype(int) % 3).map({0: "x", 1: "y", 2: "z"})
    frame.loc[random.uniform(size=n_rows) < share_missing, "odd"] = np.nan
    return frame


TASKS = ["steps", "odd", "kind"]


@pytest.fixture(scope="module")
def audit():
    problem = load_table(steps(), TASKS, width=8, settings=TrainingSettings(epochs=5))
    plan = Plan.all_in_one(problem.names)
    return retrain(plan, problem, 3, baselines=(), reference_seconds=60.0)


@pytest.mark.parametrize("seconds", [None, 3600.0])
def test_boosting_gets_the_time_that_trainings_leave(seconds):
    problem = load_table(steps(300), TASKS, width=8, settings=TrainingSettings(epochs=1))
    plan = Plan.all_in_one(problem.names)
    audit = retrain(plan, problem, 2, baselines=(), seconds=seconds, reference_seconds=1e-9)
    assert (audit.reference is not None) == (seconds is not None)


def test_no_replicate_is_begun_that_would_not_end_in_time(monkeypatch):
    now = [0.0]

    def score(*_):
        now[0] += 10.0
        return 0.5, 0.5, [0.5]

    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("affinity.audit.reference.time", clock)
    monkeypatch.setattr("affinity.audit.reference._score", score)
    problem = load_table(steps(300), TASKS, width=8)
    reference = train_reference(problem, [0, 1, 2], 8, seconds=75.0)
    assert reference is not None
    assert (len(reference.scores), reference.seconds, now[0]) == (2, 30.0, 60.0)


def test_where_boosting_wins_the_page_terminal_and_json_say_so(audit, tmp_path):
    assert audit.reference_overall.verdict == "beneficial"
    assert "reference-wins" in {alert.code for alert in find_alerts(audit)}
    summary = audit.summary().reference
    assert summary.overall.verdict == "beneficial"
    assert summary.tasks["odd"].metric > 0.9
    again = load(save(audit, tmp_path / "audit.safetensors"))
    assert torch.equal(again.reference.scores, audit.reference.scores)


def test_boosting_sees_the_rows_of_the_replicate_and_no_others(audit):
    problem = load_table(steps(), TASKS, width=8, settings=TrainingSettings(epochs=5))
    seed = problem.replicate_seeds(1, 1)[0]
    rows = problem.replicate(seed)
    model = HistGradientBoostingRegressor(
        max_iter=100, early_stopping=False, random_state=seed % 2**31
    ).fit(rows.training.inputs.double().numpy(), rows.training.targets[:, 0].numpy())

    def losses(part):
        stages = model.staged_predict(part.inputs.double().numpy())
        return [np.mean((each - part.targets[:, 0].numpy()) ** 2) for each in stages]

    best = int(np.argmin(losses(rows.validation)))
    assert audit.reference.scores[0, 0] == pytest.approx(losses(rows.test)[best], rel=1e-5)
    assert audit.reference.blocks.shape == audit.gains.score_blocks.shape


def test_boosting_ends_in_time_and_is_left_out_of_other_inputs():
    problem = load_table(steps(), TASKS)
    assert train_reference(problem, [0, 1], 128, seconds=0.0) is None
    plain = retrain(
        Plan.separate(problem.names),
        problem.with_settings(TrainingSettings(epochs=1)),
        2,
        baselines=(),
    )
    assert plain.reference is None
    assert plain.reference_overall is None
