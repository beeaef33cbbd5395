"""A run that is killed, and resumed from its checkpoint, leaves the trace of an unbroken run."""

import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from codes import raises
from torch import Tensor, nn

from affinity.recording import Recorder, Trace
from affinity.recording.summary import RecordingSummary

N_STEPS = 12


def run(folder: Path, kill_at: int | None = None) -> Trace:
    """Train with a checkpoint per step; resume from the last one."""
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "trunk": nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5)),
            **{name: nn.Linear(5, 1) for name in "abc"},
        }
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    recorder = Recorder(
        model, "trunk", every=2, lookahead_every=2, sources=2, optimizer=optimizer, layers=2
    )
    checkpoint = folder / "checkpoint.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        recorder.load_state_dict(state["recorder"])
        torch.set_rng_state(state["random"])
        start = state["step"]
    for step in range(start, N_STEPS):
        inputs = torch.randn(6, 4)

        def losses(inputs: Tensor = inputs) -> dict[str, Tensor]:
            return {name: model[name](model["trunk"](inputs)).square().mean() for name in "abc"}

        now = losses()
        recorder.observe(now, closure=losses)
        sum(now.values(), torch.tensor(0.0)).backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "recorder": recorder.state_dict(),
                "random": torch.get_rng_state(),
                "step": step + 1,
            },
            folder / "unfinished.pt",
        )
        os.replace(folder / "unfinished.pt", checkpoint)
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
    return recorder.trace()


def assert_equal(one: Trace, other: Trace) -> None:
    for field in fields(Trace):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, Tensor):
            assert torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)), field.name
        elif isinstance(a, RecordingSummary):
            assert a.cost.measurements == b.cost.measurements
            assert replace(a, cost=b.cost) == b  # times differ from run to run
        else:
            assert a == b


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals to kill a process")
def test_a_killed_run_resumes_to_the_same_trace(tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    broken.mkdir()
    whole.mkdir()
    killed = subprocess.run(
        [sys.executable, __file__, str(broken)],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL
    resumed, unbroken = run(broken), run(whole)
    assert resumed.steps.tolist() == [0, 2, 4, 6, 8, 10]
    assert_equal(resumed, unbroken)


def test_a_resumed_search_knows_what_a_rare_task_shared() -> None:
    """Task c, met only before the checkpoint, is why the second layer is shared."""

    def recorded(resume_at: int | None) -> Trace:
        torch.manual_seed(0)
        model = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("first", "second", *"abc")})
        recorder = Recorder(model, tasks=list("abc"), every=1)
        for step in range(5):
            if step == resume_at:
                state = recorder.state_dict()
                recorder = Recorder(model, tasks=list("abc"), every=1)
                recorder.load_state_dict(state)
            early = model["first"](torch.randn(8, 4))
            late = model["second"](early)
            parts = {"a": late, "b": early, **({"c": late} if step < 2 else {})}
            recorder.observe({name: model[name](x).square().mean() for name, x in parts.items()})
        return recorder.trace()

    unbroken = recorded(None)
    assert unbroken.recording is not None
    assert unbroken.recording.shared == {"first": 20, "second": 20}
    assert_equal(recorded(3), unbroken)


def test_a_resumed_run_continues_its_round_of_alternating_tasks() -> None:
    def recorded(resume_at: int | None) -> Trace:
        torch.manual_seed(0)
        model = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("trunk", *"abc")})
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def start() -> Recorder:
            return Recorder(model, "trunk", tasks=list("abcd"), every=9, lookahead_every=1)

        recorder = start()
        for step in range(22):
            if step == resume_at:
                state = recorder.state_dict()
                recorder = start()
                recorder.load_state_dict(state)
            inputs, task = torch.randn(8, 4), "abc"[step % 3]

            def loss(inputs: Tensor = inputs, task: str = task) -> Tensor:
                return model[task](model["trunk"](inputs)).square().mean()

            recorder.observe(now := loss(), loss, task=task)
            now.backward()
            optimizer.step()
            optimizer.zero_grad()
        return recorder.trace()

    unbroken = recorded(None)
    assert unbroken.gramians is not None
    assert unbroken.gramians[:, :3, :3].isfinite().any(dim=0).all()
    for step in range(1, 22):
        assert_equal(recorded(step), unbroken)


def test_a_state_of_other_tasks_or_adapters_is_refused() -> None:
    model = nn.Linear(2, 2)
    one, other = Recorder(model, tasks=["a", "b"]), Recorder(model, tasks=["a", "c"])
    with raises("different-tasks"):
        other.load_state_dict(one.state_dict())
    adapters = nn.ModuleDict({name: nn.Linear(2, 2) for name in ("lora_a", "lora_b")})
    one, other = Recorder(adapters, "lora_a"), Recorder(adapters, "lora_b")
    with raises("different-parameters") as info:
        other.load_state_dict(one.state_dict())
    assert "lora_b.weight" in str(info.value)
    one.load_state_dict(one.state_dict())


def test_what_is_no_state_of_a_recorder_is_refused() -> None:
    model = nn.Linear(2, 2)
    with raises("no-recorder-state"):
        Recorder(model).load_state_dict(model.state_dict())


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), kill_at=6)
