"""Affinities by day, and the alerts on what changes."""

from dataclasses import replace

import pytest
import torch
from made_up_log import impressions

from affinity.ranking import (
    DailyTrainer,
    RankingSettings,
    affinity_by_day,
    daily_frame,
    find_ranking_alerts,
)
from affinity.recording import Trace

SMALL = RankingSettings(hidden=16, width=16, tower=8, embedding=4, buckets=128, batch_size=16)


@pytest.fixture(scope="module")
def run():
    return DailyTrainer(SMALL, every=3).train(impressions())


def with_cosines(run, by_day: list[float], noise: float = 0.02):
    """The run with this cosine between click and watch on each day."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.cat([torch.arange(day.step, day.step + 18, 2) for day in run.days])
    cosine = torch.tensor(by_day).repeat_interleave(9)
    cosine = cosine + noise * torch.randn(len(cosine), generator=generator)
    gramians = torch.eye(3).repeat(len(steps), 1, 1)
    gramians[:, 0, 1] = gramians[:, 1, 0] = cosine
    names = tuple(objective.name for objective in run.objectives)
    return replace(run, trace=Trace(names, steps, torch.ones(len(steps), 3), gramians))


def codes(run) -> list[str]:
    return [alert.code for alert in find_ranking_alerts(run)]


def test_periods_hold_the_measurements_of_their_days(run):
    periods = affinity_by_day(with_cosines(run, [0.5, -0.5, 0.1, 0.3]))
    assert [(p.first, p.measurements) for p in periods] == [(day.day, 9) for day in run.days]
    values = [period.affinity.between("click", "watch") for period in periods]
    assert values == pytest.approx([0.5, -0.5, 0.1, 0.3], abs=0.03)
    assert [period.conflict[0, 1].item() for period in periods[:2]] == [0, 1]
    joined = affinity_by_day(with_cosines(run, [0.5, -0.5, 0.1, 0.3]), fewest=12)
    assert [(p.first, p.last) for p in joined] == [
        (run.days[0].day, run.days[1].day),
        (run.days[2].day, run.days[3].day),
    ]


def test_a_change_of_sign_is_told_only_beyond_its_error(run):
    assert codes(with_cosines(run, [0.2, 0.2, -0.2, -0.2])) == ["affinity-changed-sign"]
    assert codes(with_cosines(run, [0.2, 0.3, 0.2, 0.1])) == []
    assert codes(with_cosines(run, [0.02, -0.02, 0.02, -0.02], noise=0.2)) == []


def test_polarized_gates_are_told(run):
    polarized = replace(run, days=(*run.days[:-1], replace(run.days[-1], polarized=("like",))))
    (alert,) = [a for a in find_ranking_alerts(polarized) if a.code == "gate-polarized"]
    assert alert.severity == "warning"
    early = replace(run, days=(replace(run.days[0], polarized=("like",)), *run.days[1:]))
    (alert,) = [a for a in find_ranking_alerts(early) if a.code == "gate-polarized"]
    assert alert.severity == "note"


def test_one_row_per_day_and_objective(run):
    frame = daily_frame(run)
    assert len(frame) == len(run.days) * 3
    experts = frame.filter(like="expert").sum(axis=1)
    assert experts.tolist() == pytest.approx([1.0] * len(frame))
