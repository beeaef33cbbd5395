"""A killed training goes on where it was, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from codes import raises
from torch import nn

from affinity.sharing import HardSharing
from affinity.tasks import Examples, Replicate, RSquared, SquaredError, Task
from affinity.training import GradNorm, TrainingSettings, UncertaintyWeighting, train
from affinity.training.objectives import DynamicWeightAverage, Objective, Sum

TASKS = tuple(Task(name, SquaredError(), RSquared()) for name in ("a", "b"))

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
torch.set_num_threads(1)
from test_checkpoint import TASKS, network, replicate, settings
from affinity.training import train
watch = lambda losses, closure: time.sleep(0.01)
train(network(), TASKS, replicate(), settings(), watch=watch, checkpoint=Path(sys.argv[1]))
"""


def examples(count: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    targets = torch.stack([inputs[:, 0], inputs.square().sum(dim=1)], dim=1)
    return Examples(inputs, targets + torch.randn(count, 2, generator=generator))


def replicate(seed: int = 0) -> Replicate:
    return Replicate(seed, examples(64, 0), examples(40, 1), examples(40, 2))


def network() -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(
        TASKS,
        lambda: nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2)),
        lambda task: nn.Linear(16, task.n_outputs),
    )


def settings(objective: Objective | None = None, epochs: int = 40) -> TrainingSettings:
    return TrainingSettings(
        epochs=epochs,
        batch_size=16,
        patience=epochs,
        schedule="cosine",
        average_weights=True,
        objective=objective or UncertaintyWeighting(),
    )


@pytest.mark.slow
def test_a_run_killed_in_the_middle_ends_where_the_unbroken_one_ends(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(here=str(Path(__file__).parent)), str(file)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
    )
    deadline = time.monotonic() + 120
    while not file.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # somewhere in the middle
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    unbroken, resumed = network(), network()
    expected = train(unbroken, TASKS, replicate(), settings())
    seen: list[int] = []
    result = train(
        resumed, TASKS, replicate(), settings(), watch=lambda *_: seen.append(1), checkpoint=file
    )
    assert 0 < len(seen) < 40 * 4
    assert result.test_loss == expected.test_loss
    for one, other in zip(
        unbroken.state_dict().values(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("objective", [Sum(), DynamicWeightAverage(), GradNorm()])
def test_what_an_objective_remembers_is_kept(tmp_path: Path, objective: Objective) -> None:
    class Killed(Exception):  # noqa: N818
        pass

    steps = 0

    def kill(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4 * 3 + 2:  # in the middle of the fourth epoch
            raise Killed

    file = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        train(
            network(),
            TASKS,
            replicate(),
            settings(objective, epochs=6),
            watch=kill,
            checkpoint=file,
        )
    resumed, unbroken = network(), network()
    result = train(resumed, TASKS, replicate(), settings(objective, epochs=6), checkpoint=file)
    expected = train(unbroken, TASKS, replicate(), settings(objective, epochs=6))
    assert result.test_loss == expected.test_loss
    assert result.epochs == expected.epochs
    for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    first = train(network(), TASKS, replicate(), settings(), checkpoint=file)

    def watch(*_: object) -> None:
        raise AssertionError("trained again")

    again = train(network(), TASKS, replicate(), settings(), watch=watch, checkpoint=file)
    assert again.test_loss == first.test_loss


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.safetensors"
    short = TrainingSettings(epochs=1, batch_size=16)
    train(network(), TASKS, replicate(), short, checkpoint=file)
    with raises("other-training"):
        train(network(), TASKS, replicate(seed=1), short, checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with raises("damaged-file"):
        train(network(), TASKS, replicate(), short, checkpoint=file)
