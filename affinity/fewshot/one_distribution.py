"""Whether meta-test tasks look drawn from the distribution of the meta-training tasks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

from affinity.errors import InputError
from affinity.tasks import Examples

from .family import Family
from .random_numbers import generator_of

PERMUTATIONS = 999
MOST_TASKS = 100
LEVEL = 0.05


@dataclass(frozen=True)
class OneDistribution:
    """What a permutation test says of two sets of tasks.

    Args:
        p_value: How often shuffled tasks lie as far apart as these do.
        n_training: Meta-training tasks (or classes) that were compared.
        n_test: Meta-test tasks (or classes) that were compared.
        furthest: In what they differ most, in words.
    """

    p_value: float
    n_training: int
    n_test: int
    furthest: str

    @property
    def differs(self) -> bool:
        """Whether the tasks look drawn from two distributions, at a level of 5 %."""
        return self.p_value <= LEVEL

    @property
    def warning(self) -> str | None:
        """What to tell a person, if they differ."""
        if not self.differs:
            return None
        return (
            f"The {self.n_test} meta-test tasks do not look drawn from the distribution of the "
            f"{self.n_training} meta-training tasks (p = {self.p_value:.3f}): {self.furthest}. "
            "What is learned over tasks need not hold for others. Meta-train on tasks like those "
            "that will come, or split the tasks at random."
        )


def check_one_distribution(training: Family, test: Family, seed: int = 0) -> OneDistribution:
    r"""Compare what the tasks' rows are like, with a task (or a class) as the unit.

    A task is described by the mean and deviation of each input, of the target, and by the
    correlation of each input with the target; each standardized over all tasks. The energy distance

    .. math::
        2 E\lVert X - Y \rVert - E\lVert X - X' \rVert - E\lVert Y - Y' \rVert

    between the descriptions of the two sets is set against those of random splits of all tasks into
    sets of the same sizes. With few tasks the test has little power: three classes against seven
    can reach no p below 1/120, two against two none below 1/3.

    Args:
        training: Meta-training tasks.
        test: Meta-test tasks.
        seed: Decides which tasks are looked at, and the splits.

    Raises:
        InputError: If the tasks have inputs of different shapes.

    References:
        Székely & Rizzo (2013), `Energy statistics
        <https://doi.org/10.1016/j.jspi.2013.03.018>`_.

    Example:
        >>> from affinity.fewshot import SineWaves
        >>> low, high = SineWaves(0.1, 1.0), SineWaves(4.0, 5.0)
        >>> check_one_distribution(low, low).differs, check_one_distribution(low, high).differs
        (False, True)
    """
    sets = [
        family.specimens(MOST_TASKS, generator_of(seed, f"specimens {number}"))
        for number, family in enumerate((training, test))
    ]
    shapes = [tuple(each[0].inputs.shape[1:]) for each in sets]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"Expected meta-training and meta-test tasks with inputs of one shape, but got "
            f"{shapes[0]} and {shapes[1]}."
        )
    descriptions = np.stack([_describe(rows) for each in sets for rows in each])
    deviation = descriptions.std(axis=0)
    scaled = (descriptions - descriptions.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1)
    distances = cdist(scaled, scaled)
    n_training, n_all = len(sets[0]), len(scaled)
    here = np.arange(n_all) < n_training
    random = np.random.default_rng(seed)
    splits = np.stack([here, *(random.permutation(here) for _ in range(PERMUTATIONS))])
    found, *shuffled = _energy(distances, splits)
    n_as_far = sum(each >= found - 1e-12 for each in shuffled)
    return OneDistribution(
        p_value=float(1 + n_as_far) / (1 + PERMUTATIONS),
        n_training=n_training,
        n_test=n_all - n_training,
        furthest=_furthest(descriptions, here),
    )


def _describe(rows: Examples) -> Float[np.ndarray, " description"]:
    inputs = rows.inputs.flatten(1).double().numpy()
    target = rows.targets[:, 0].double().numpy()
    known = ~np.isnan(target)
    inputs, target = inputs[known], target[known]
    own = inputs - inputs.mean(axis=0), target - target.mean()
    scale = inputs.std(axis=0) * target.std()
    together = (own[0] * own[1][:, None]).mean(axis=0) / np.where(scale > 1e-9, scale, 1)
    parts = (inputs.mean(axis=0), inputs.std(axis=0), together, [target.mean(), target.std()])
    return np.concatenate(parts)


def _energy(
    distances: Float[np.ndarray, "task task"], splits: Bool[np.ndarray, "split task"]
) -> Float[np.ndarray, " split"]:
    here, there = splits.astype(float), (~splits).astype(float)
    here /= here.sum(axis=1, keepdims=True)
    there /= there.sum(axis=1, keepdims=True)
    apart = here - there
    return -((apart @ distances) * apart).sum(axis=1)  # 2 E|X-Y| - E|X-X'| - E|Y-Y'|


def _furthest(descriptions: np.ndarray, here: np.ndarray) -> str:
    n_inputs = (descriptions.shape[1] - 2) // 3
    names = [
        *(
            f"the {what} of input {at}"
            for what in ("mean", "deviation", "correlation with the target")
            for at in range(n_inputs)
        ),
        *("the mean of the target", "the deviation of the target"),
    ]
    training, test = descriptions[here].mean(axis=0), descriptions[~here].mean(axis=0)
    spread = descriptions.std(axis=0)
    at = int(np.argmax(np.abs(test - training) / np.where(spread > 1e-9, spread, np.inf)))
    return f"{names[at]} is {test[at]:.3g} there and {training[at]:.3g} here, on average"
