"""Distribution shift: whether meta-test tasks differ from the meta-training tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.distance import cdist

from affinity.errors import check_same
from affinity.tasks import Examples

from .family import Family
from .random_numbers import generator_of

PERMUTATIONS = 999
MAX_TASKS = 100
LEVEL = 0.05


@dataclass(frozen=True)
class DistributionShift:
    """Result of permutation tests of two sets of tasks.

    Args:
        p_value: The smaller p-value of the two tests below, times two.
        n_training: Number of compared meta-training tasks (or classes).
        n_test: Number of compared meta-test tasks (or classes).
        largest_difference: The property that differs most, in words.
        rows_p_value: Fraction of random splits of all tasks with an energy distance between the
            descriptions of their rows that is at least as large.
        losses_p_value: The same for the difference between the losses that a network trained from
            scratch reaches on the tasks; None if it was not compared.
    """

    p_value: float
    n_training: int
    n_test: int
    largest_difference: str
    rows_p_value: float | None = None
    losses_p_value: float | None = None

    @property
    def is_significant(self) -> bool:
        """Whether the two sets differ, at a level of 5 %."""
        return self.p_value <= LEVEL

    @property
    def scope(self) -> str:
        """What was compared, and which differences cannot be seen."""
        compared = "means and deviations of inputs and target, and their linear correlations"
        if self.losses_p_value is not None:
            compared += ", and the losses of a network trained from scratch on each task"
        return (
            f"Compared were {compared}. A different relation between inputs and target that leaves "
            "these unchanged cannot be seen."
        )

    @property
    def warning(self) -> str | None:
        """A warning if the two sets differ."""
        if not self.is_significant:
            return None
        return (
            f"The {self.n_test} meta-test tasks differ from the {self.n_training} meta-training "
            f"tasks (p = {self.p_value:.3f}): {self.largest_difference}. What was learned may not "
            "transfer. Meta-train on tasks like those to come, or split the tasks at random."
        )


def check_distribution_shift(
    training: Family,
    test: Family,
    seed: int = 0,
    losses: tuple[Float[np.ndarray, " training_task"], Float[np.ndarray, " test_task"]]
    | None = None,
) -> DistributionShift:
    r"""Compare the rows of meta-training and meta-test tasks; the unit is a task (or a class).

    Each task is described by the mean and standard deviation of each input and of the target, and
    the correlation of each input with the target, standardized over all tasks. The energy distance

    .. math::
        2 E\lVert X - Y \rVert - E\lVert X - X' \rVert - E\lVert Y - Y' \rVert

    between the two sets of descriptions is compared with that of random splits into sets of the
    same sizes. Descriptions do not show how targets depend on inputs, beyond the correlation: sine
    and square waves have nearly equal ones. Therefore the losses of a network that is trained from
    scratch on each task are compared as well, where they are given. With few tasks the test has
    little power: the smallest p-value of three against seven classes is 1/120, of two against two
    1/3.

    Args:
        losses: Losses of training from scratch on meta-training and on meta-test tasks.

    Raises:
        InputError: If the tasks have inputs of different shapes.

    References:
        Székely & Rizzo (2013), `Energy statistics
        <https://doi.org/10.1016/j.jspi.2013.03.018>`_.

    Example:
        >>> from affinity.fewshot import SineWaves
        >>> low, high = SineWaves(0.1, 1.0), SineWaves(4.0, 5.0)
        >>> [check_distribution_shift(low, test).is_significant for test in (low, high)]
        [False, True]
    """
    training_rows, test_rows = (
        family.example_tasks(MAX_TASKS, generator_of(seed, f"specimens {number}"))
        for number, family in enumerate((training, test))
    )
    shapes = [tuple(rows[0].inputs.shape[1:]) for rows in (training_rows, test_rows)]
    check_same("the shape of meta-test inputs", shapes[1], shapes[0], "different-shapes")
    descriptions = np.stack([_describe(rows) for rows in (*training_rows, *test_rows)])
    deviation = descriptions.std(axis=0)
    scaled = (descriptions - descriptions.mean(axis=0)) / np.where(deviation > 1e-9, deviation, 1)
    is_training = np.arange(len(scaled)) < len(training_rows)
    random = np.random.default_rng(seed)
    splits = np.stack(
        [is_training, *(random.permutation(is_training) for _ in range(PERMUTATIONS))]
    )
    of_rows = _p_value(_energy_distances(cdist(scaled, scaled), splits))
    largest_difference = _largest_difference(descriptions, is_training)
    of_losses = None
    if losses is not None:
        logs = np.log(np.maximum(np.concatenate(losses), 1e-12))
        is_first = np.arange(len(logs)) < len(losses[0])
        splits = np.stack([is_first, *(random.permutation(is_first) for _ in range(PERMUTATIONS))])
        of_losses = _p_value(np.abs([logs[split].mean() - logs[~split].mean() for split in splits]))
        if of_losses < of_rows:
            first, second = (
                float(np.exp(part.mean())) for part in np.split(logs, [is_first.sum()])
            )
            largest_difference = (
                f"a network trained from scratch reaches a loss of {second:.3g} on meta-test and "
                f"{first:.3g} on meta-training tasks (geometric means)"
            )
    tests = [p for p in (of_rows, of_losses) if p is not None]
    return DistributionShift(
        p_value=min(1.0, len(tests) * min(tests)),
        n_training=len(training_rows),
        n_test=len(test_rows),
        largest_difference=largest_difference,
        rows_p_value=of_rows,
        losses_p_value=of_losses,
    )


def _p_value(statistics: Sequence[float] | np.ndarray) -> float:
    """The fraction of all splits, the first of which is the real one, with as large a statistic."""
    observed, *permuted = statistics
    n_as_large = sum(value >= observed - 1e-12 for value in permuted)
    return float(1 + n_as_large) / (1 + PERMUTATIONS)


def _describe(rows: Examples) -> Float[np.ndarray, " description"]:
    inputs = rows.inputs.flatten(1).double().numpy()
    target = rows.targets[:, 0].double().numpy()
    is_labelled = ~np.isnan(target)
    inputs, target = inputs[is_labelled], target[is_labelled]
    centred, centred_target = inputs - inputs.mean(axis=0), target - target.mean()
    scale = inputs.std(axis=0) * target.std()
    covariance = (centred * centred_target[:, None]).mean(axis=0)
    correlation = covariance / np.where(scale > 1e-9, scale, 1)
    parts = (inputs.mean(axis=0), inputs.std(axis=0), correlation, [target.mean(), target.std()])
    return np.concatenate(parts)


def _energy_distances(
    distances: Float[np.ndarray, "task task"], splits: Bool[np.ndarray, "split task"]
) -> Float[np.ndarray, " split"]:
    first, second = splits.astype(float), (~splits).astype(float)
    weights = first / first.sum(axis=1, keepdims=True) - second / second.sum(axis=1, keepdims=True)
    return -((weights @ distances) * weights).sum(axis=1)  # 2 E|X-Y| - E|X-X'| - E|Y-Y'|


def _largest_difference(descriptions: np.ndarray, is_training: np.ndarray) -> str:
    n_inputs = (descriptions.shape[1] - 2) // 3
    names = [
        *(
            f"the {moment} of input {number}"
            for moment in ("mean", "standard deviation", "correlation with the target")
            for number in range(n_inputs)
        ),
        *("the mean of the target", "the standard deviation of the target"),
    ]
    training = descriptions[is_training].mean(axis=0)
    test = descriptions[~is_training].mean(axis=0)
    spread = descriptions.std(axis=0)
    place = int(np.argmax(np.abs(test - training) / np.where(spread > 1e-9, spread, np.inf)))
    return (
        f"{names[place]} is {test[place]:.3g} in meta-test and {training[place]:.3g} in "
        "meta-training tasks, on average"
    )
