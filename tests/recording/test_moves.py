"""One measurement is easy to follow: few of its calls lead from one file to another."""

import os
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest
import torch
from torch import Tensor, nn

import affinity.recording
from affinity.recording import Recorder

FOLDER = Path(affinity.recording.__file__).parent
MOST_MOVES = 50
"""Largest number of calls from one file of the package to another in one measurement."""

MOST_AT_FIRST = 84
"""The same of the first measurement, which searches for what is shared, and checks the closure, the
losses, and that all processes have the same model."""


def moves_of_observations(count: int) -> list[int]:
    """The number of calls from file to file in each of several observations of two tasks."""
    model = nn.ModuleDict({"trunk": nn.Linear(2, 2), "a": nn.Linear(2, 1), "b": nn.Linear(2, 1)})
    recorder = Recorder(model, "trunk", every=1, lookahead_every=2)
    inputs = torch.ones(4, 2)
    moves: list[int] = []

    def losses() -> dict[str, Tensor]:
        return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_back is not None:
            caller, callee = Path(frame.f_back.f_code.co_filename), Path(frame.f_code.co_filename)
            if caller != callee and caller.parent == callee.parent == FOLDER:
                moves[-1] += 1

    for _ in range(count):
        now = losses()
        moves.append(0)
        sys.setprofile(profile)
        recorder.observe(now, closure=losses)
        sys.setprofile(None)
    assert recorder.trace().lookahead_losses is not None
    return moves


@pytest.mark.slow
def test_a_measurement_makes_few_moves_between_files() -> None:
    counted = subprocess.run(  # in a process whose functions do not check their types
        [sys.executable, __file__],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    moves = [int(number) for number in counted.stdout.split()]
    assert len(moves) == 4
    assert moves[0] <= MOST_AT_FIRST, moves
    assert all(10 < number <= MOST_MOVES for number in moves[1:]), moves


if __name__ == "__main__":
    print(*moves_of_observations(4))
