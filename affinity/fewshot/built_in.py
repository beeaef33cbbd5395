"""Built-in few-shot problems: sine waves, and scikit-learn's handwritten digits."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.datasets import load_digits

from affinity.problems import TableTrunk
from affinity.problems.problem import linear_heads

from .class_problem import class_problem
from .meta_training import MetaTraining
from .problem import FewShotProblem
from .sine_waves import SineWaves


def few_shot_sines(settings: MetaTraining | None = None, width: int = 40) -> FewShotProblem:
    """Sine waves with the network of the MAML paper: two layers of width 40.

    Example:
        >>> few_shot_sines().task.n_outputs
        1
    """
    waves = SineWaves()
    return FewShotProblem(
        name="sine waves",
        training=waves,
        validation=waves,
        test=waves,
        trunk=TableTrunk(1, width, 2),
        head=linear_heads(width),
        shots=10,
        queries=10,
        inner_rate=0.01,
        settings=settings or MetaTraining(),
    )


def few_shot_digits(
    ways: int = 3,
    test_classes: Sequence[str] | None = None,
    settings: MetaTraining | None = None,
    width: int = 64,
    seed: int = 0,
) -> FewShotProblem:
    """1,797 images of 8 x 8 pixels; some of the ten digits are the meta-test classes.

    Example:
        >>> problem = few_shot_digits(ways=3, test_classes=["7", "8", "9"])
        >>> problem.training.n_tasks  # 7 * 6 * 5
        210.0
    """
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    return class_problem(
        "digits",
        torch.from_numpy(images / 16.0).float(),
        [str(label) for label in labels],
        ways=ways,
        test_classes=test_classes,
        trunk=TableTrunk(64, width, 2),
        head=linear_heads(width),
        settings=settings,
        seed=seed,
    )
