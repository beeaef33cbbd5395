import time

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.recording import Recorder
from affinity.recording.schedule import Schedule, Timing


def small_model() -> nn.ModuleDict:
    return nn.ModuleDict({"trunk": nn.Linear(3, 3), "a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})


def losses_of(model: nn.ModuleDict) -> dict[str, Tensor]:
    inputs = torch.ones(2, 3)
    return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}


def test_a_window_bounds_the_measurements() -> None:
    model = small_model()
    recorder = Recorder(model, "trunk", every=4, after=3, until=12)
    for _ in range(20):
        recorder.observe(losses_of(model))
    assert recorder.trace().steps.tolist() == [3, 7, 11]


def test_overhead_spaces_the_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    schedule, timing = Schedule(every=1, overhead=0.05), Timing()
    measured: list[int] = []
    for step in range(5000):
        plain_seconds = timing.cost().plain_seconds
        if schedule.is_due(step, timing) and schedule.fits(step, timing, plain_seconds):
            measured.append(step)
            cost = 9.0 if measured[1:] else 30.0  # a slow first one
            now[0] += cost
            timing.add(cost)
        now[0] += 1.0  # a plain step
    assert measured[0] == 0
    assert 0.045 < timing.cost().overhead <= 0.05
    assert len(measured) > 20


def test_an_impossible_schedule_is_refused() -> None:
    for settings in ({"every": 0}, {"after": 5, "until": 5}, {"overhead": -0.1}):
        with raises("out-of-range"):
            Recorder(small_model(), **settings)
