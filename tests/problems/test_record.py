"""A recorded run of a problem is the same run, and is kept when it breaks off."""

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises, warns

from affinity import InterTaskAffinity, TrainingSettings, load_table, record
from affinity.estimates import SignalCosine
from affinity.problems.record import MANY_TASKS, steps_between_measurements
from affinity.training import initial, train


@pytest.fixture(scope="module")
def clusters():
    """Two pairs of tasks: within a pair the same function with other noise."""
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 8))
    first, second = np.tanh(x[:, 0] * x[:, 1]), np.sign(x[:, 2]) * x[:, 3]
    noise = 0.1 * random.normal(size=(600, 4))
    frame = pd.DataFrame(x, columns=[f"x{at}" for at in range(8)])
    frame["a1"], frame["a2"] = first + noise[:, 0], first + noise[:, 1]
    frame["b1"], frame["b2"] = second + noise[:, 2], second + noise[:, 3]
    settings = TrainingSettings(epochs=5, batch_size=32)
    return load_table(frame, ["a1", "a2", "b1", "b2"], width=16, settings=settings)


def test_a_recorded_run_of_a_problem_is_the_same_run(clusters):
    replicate = clusters.replicate(0)
    plain = initial(clusters.network, clusters.tasks, 0)
    train(plain, clusters.tasks, replicate, clusters.settings)
    traced = record(clusters, every=3, seed=0)
    again = initial(clusters.network, clusters.tasks, 0)
    seen = []
    train(again, clusters.tasks, replicate, clusters.settings, watch=lambda *_: seen.append(1))
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert len(traced) == -(-len(seen) // 3)


def test_a_run_that_takes_too_long_ends_with_what_was_measured(clusters):
    whole = record(clusters, every=3)
    with warns("recording-cut-short"):
        short = record(clusters, every=3, seconds=0.0)
    assert len(short) == 2 < len(whole)
    assert torch.equal(short.losses, whole.losses[:2])
    assert len(record(clusters, every=3, seconds=600.0)) == len(whole)


def test_a_task_helps_itself_most(clusters):
    values = InterTaskAffinity()(record(clusters, every=2)).values
    assert torch.all(values.diagonal() > 0)
    assert torch.equal(values.argmax(dim=0), torch.arange(4))


def test_held_out_batches_are_recorded_and_change_nothing_else(clusters):
    plain, both = record(clusters, every=4), record(clusters, every=4, held_out=True)
    assert torch.equal(both.losses, plain.losses)
    assert torch.equal(both.gramians, plain.gramians)
    for values in (both.held_out_losses, both.held_out_gramians, both.held_out_lookahead_losses):
        assert values.isfinite().all()
    assert SignalCosine()(both).values.isfinite().any()


def test_a_run_too_short_to_estimate_from_is_explained(clusters):
    with raises("too-few-measurements"):
        record(clusters, every=100_000)


def test_what_was_measured_is_kept_when_a_run_breaks_off(clusters, tmp_path, monkeypatch):
    from affinity import DivergenceError, Recorder, Trace

    observe, calls = Recorder.observe, []

    def stop_at_ten(self, losses, **how):
        calls.append(1)
        if len(calls) == 10:
            raise DivergenceError("stop")
        observe(self, losses, **how)

    monkeypatch.setattr(Recorder, "observe", stop_at_ten)
    with pytest.raises(DivergenceError):
        record(clusters, every=2, partial=tmp_path / "partial.safetensors")
    assert Trace.load(tmp_path / "partial.safetensors").steps.tolist() == [0, 2, 4, 6, 8]


def test_several_runs_are_one_trace_and_the_first_is_the_run_alone(clusters):
    trace = record(clusters, every=20, runs=2)
    first = record(clusters, every=20)
    assert trace.runs.unique().tolist() == [0, 1]
    assert torch.equal(trace.losses[trace.runs == 0], first.losses)
    assert not torch.equal(trace.losses[trace.runs == 1][: len(first)], first.losses)
    with raises("out-of-range"):
        record(clusters, runs=0)


def test_many_tasks_are_measured_more_rarely_and_more_sources_at_once():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(1200, 122)))
    table.columns = ["x", "y", *(f"task {number}" for number in range(120))]
    settings = TrainingSettings(epochs=2, batch_size=16, patience=2)
    problem = load_table(table, list(table.columns[2:]), width=4, settings=settings)
    assert steps_between_measurements(problem) == 12
    trace = record(problem)
    assert set(trace.steps.diff().tolist()) == {12}
    assert trace.gramians[0].isfinite().all()  # sketched: of all pairs in each measurement
    assert trace.lookahead_losses is not None
    sources = trace.lookahead_losses[0].isfinite().any(dim=1)
    assert sources.sum() == MANY_TASKS
