"""MNIST at 14 x 14 pixels, with a network of three layers and a head, for studies of shifts."""

import gzip
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from intervals import ROOT
from torch import Tensor

from affinity.problems import Problem, TableParts
from affinity.sharing import HardSharing
from affinity.tasks import (
    Accuracy,
    BinaryCrossEntropy,
    CrossEntropy,
    Examples,
    Replicate,
    RocAuc,
    Task,
)
from affinity.training import Member, TrainingSettings, train_members

MNIST = ROOT.parent / "shared/data/images/mnist"
DIGIT = Task("digit", CrossEntropy(), Accuracy(), n_outputs=10)
SIDE, WIDTH, DEPTH = 14, 64, 3
Tensors = dict[str, Tensor]


def images(part: str) -> tuple[Tensor, Tensor]:
    """Pixels ``[row 196]`` in [0, 1], means of 2 x 2; and digits."""
    with gzip.open(MNIST / f"{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16)
    with gzip.open(MNIST / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    square = torch.from_numpy(pixels.reshape(-1, SIDE, 2, SIDE, 2).astype(np.float32) / 255)
    return square.mean(dim=(2, 4)).flatten(1), torch.from_numpy(labels.astype(np.int64))


def problem_of(task: Task, settings: TrainingSettings) -> Problem:
    """Tasks and network alone; a problem has two tasks, of which the second is left aside."""
    trunk, head = TableParts(SIDE * SIDE, DEPTH)(WIDTH)
    nothing = Examples(torch.zeros(2, SIDE * SIDE), torch.zeros(2, 2))
    second = Task("left aside", BinaryCrossEntropy(), RocAuc())
    return Problem("MNIST", (task, second), nothing, nothing, trunk, head, settings=settings)


def rows(inputs: Tensor, labels: Tensor) -> Examples:
    """Labels for the first task alone."""
    return Examples(
        inputs,
        torch.stack([labels.float(), torch.full_like(labels, math.nan, dtype=torch.float)], 1),
    )


def replicate(seed: int, pool: Examples, sizes: Sequence[int], test: Examples) -> Replicate:
    """A fresh draw of training, validation and selection rows."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pool), generator=generator)
    training, validation, evaluation = order[: sum(sizes)].split(list(sizes))
    return Replicate(seed, pool.take(training), pool.take(validation), test, pool.take(evaluation))


def learned(problem: Problem, on: Sequence[Replicate]) -> list[Tensors]:
    """The state of a network of the first task on each replicate."""
    task = problem.tasks[0].name
    members = [Member(frozenset({task}), at) for at in range(len(on))]
    results = train_members(
        problem.network, problem.tasks, members, on, problem.settings, keep=True
    )
    print("accuracy of the sources:", [round(r.test_metric[task], 4) for r in results], flush=True)
    return [dict(result.state or {}) for result in results]


def network_with(problem: Problem, state: Tensors) -> HardSharing:
    """The network in this state."""
    with torch.random.fork_rng():
        network = problem.network(problem.tasks[:1])
    network.load_state_dict(state)
    return network.eval()


Shift = Callable[[Tensor], Tensor]


def turned(degrees: float) -> Shift:
    """Images turned about their centre."""

    def turn(pixels: Tensor) -> Tensor:
        angle = math.radians(degrees)
        matrix = torch.tensor(
            [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]
        )
        square = pixels.view(-1, 1, SIDE, SIDE)
        grid = torch.nn.functional.affine_grid(
            matrix.expand(len(square), 2, 3), list(square.shape), align_corners=False
        )
        return torch.nn.functional.grid_sample(square, grid, align_corners=False).flatten(1)

    return turn


def inverted(pixels: Tensor) -> Tensor:
    """White on black becomes black on white."""
    return 1 - pixels


def noisy(pixels: Tensor) -> Tensor:
    """Gaussian noise, the same for the same images."""
    return pixels + 0.3 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))


def faint(pixels: Tensor) -> Tensor:
    """A quarter of the contrast, on grey."""
    return 0.4 + 0.25 * pixels


def written(path: Path, text: str) -> None:
    """Write a report's page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
