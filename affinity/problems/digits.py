"""scikit-learn's digits with eight targets: a small, clear case of negative transfer."""

import numpy as np
import torch

from affinity.tasks import BinaryCrossEntropy, Examples, RocAuc, RSquared, SquaredError, Task
from affinity.training import TrainingSettings

from .problem import DataSource, Problem, TableParts, columns_of
from .resampling import RandomRows

CLASSES = {
    "odd": {1, 3, 5, 7, 9},
    "at least 5": {5, 6, 7, 8, 9},
    "prime": {2, 3, 5, 7},
    "loop": {0, 6, 8, 9},
    "random five": {0, 2, 3, 7, 8},
}
"""Binary targets: the digits that are labelled 1."""


def load_digits(
    width: int = 32, depth: int = 2, test_share: float = 0.25, draw: int = 0
) -> Problem:
    """1,797 images of 8 x 8 pixels, five binary targets and three regressions.

    Odd, at least 5, prime, has a loop, is one of five digits drawn at random; the amount of ink
    and the centre of the ink in x and y, standardized. A small shared trunk cannot hold all of
    them, which makes sharing harmful for most.

    Args:
        width: Width of the trunk's layers.
        depth: Number of the trunk's layers.
        test_share: Share of the rows that are held out as test rows.
        draw: Seed that decides which rows these are.

    Example:
        >>> problem = load_digits()
        >>> problem.names
        ('odd', 'at least 5', 'prime', 'loop', 'random five', 'ink', 'centre x', 'centre y')
        >>> len(problem.development), len(problem.test)
        (1348, 449)
    """
    from sklearn import datasets

    images, labels = (np.asarray(part) for part in datasets.load_digits(return_X_y=True))
    pixels = images.reshape(-1, 8, 8)
    ink = pixels.sum(axis=(1, 2))
    numbers: dict[str, np.ndarray] = {
        "ink": ink,
        "centre x": (pixels.sum(axis=1) @ np.arange(8)) / ink,
        "centre y": (pixels.sum(axis=2) @ np.arange(8)) / ink,
    }
    binary = [torch.from_numpy(np.isin(labels, list(members))) for members in CLASSES.values()]
    regressions = [torch.from_numpy(values) for values in numbers.values()]
    examples = Examples(
        inputs=torch.from_numpy(images / 16.0).float(),
        targets=columns_of([*binary, *regressions]),
    )
    parts = RandomRows(test_share, evaluation_share=0.0)(examples, seed=draw)
    rest, test = parts.training, parts.validation
    mean, deviation = examples.targets[rest].mean(dim=0), examples.targets[rest].std(dim=0)
    is_number = torch.arange(len(mean)) >= len(CLASSES)
    examples = Examples(
        inputs=examples.inputs,
        targets=examples.targets.where(~is_number, (examples.targets - mean) / deviation),
    )
    parts = TableParts(64, depth)
    trunk, head = parts(width)
    return Problem(
        name="digits",
        tasks=(
            *(Task(name, BinaryCrossEntropy(), RocAuc()) for name in CLASSES),
            *(Task(name, SquaredError(), RSquared()) for name in numbers),
        ),
        development=examples.take(rest),
        test=examples.take(test),
        trunk=trunk,
        head=head,
        settings=TrainingSettings(batch_size=64),
        width=width,
        parts=parts,
        source=DataSource("sklearn.datasets.load_digits", rows=len(images)),
    )
