"""Choices from measured groups: pairs, random subsets, everything."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from affinity.errors import InputError
from affinity.estimates import LinearSurrogate, PairwiseGains

from .affinities import mean_of_partners
from .half import Half


@dataclass(frozen=True)
class Pairs:
    """HOA: a task gains in a group the mean of what it gained in the pairs with its partners.

    Args:
        replicates: On how many replicates pairs are trained; all if None.

    References:
        Standley et al. (2020), `Which Tasks Should Be Learned Together in Multi-task Learning?
        <https://arxiv.org/abs/1905.07553>`_
    """

    replicates: int | None = None

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        drawn = some_replicates(half, self.replicates, seed)
        size = half.members.sum(axis=1)
        half.measure(np.flatnonzero((size == 1) | (size == 2)).tolist(), drawn)
        return mean_of_partners(PairwiseGains()(half.measurements()).values.numpy())


@dataclass(frozen=True)
class RawBest:
    """Every group is trained, and what it gained is believed.

    Args:
        replicates: On how many replicates; all if None.
    """

    replicates: int | None = None

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Measured gains ``[group task]``."""
        half.measure(range(1, 1 << half.n_tasks), some_replicates(half, self.replicates, seed))
        return half.gains()


@dataclass(frozen=True)
class Ridge:
    """A linear surrogate over random subsets (`affinity.estimates.LinearSurrogate`).

    A round trains every task alone and T random groups on one replicate, and every round takes
    another replicate while there are more. A task that fewer than three groups hold is predicted
    to gain nothing, and so are all where none has three.

    Args:
        rounds: How many rounds; each costs 2T trainings.
        sizes: Whether the size of the group has an effect of its own.

    References:
        Li et al. (2023), `Identification of Negative Transfers in Multitask Learning Using
        Surrogate Models <https://arxiv.org/abs/2303.14582>`_
    """

    rounds: int = 1
    sizes: bool = False

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        measure_random_groups(half, self.rounds, seed)
        member = half.members
        try:
            fit = LinearSurrogate(sizes=self.sizes)(half.measurements())
        except InputError:  # too few groups
            return np.where(member, 0.0, np.nan)
        size = member.sum(axis=1, keepdims=True)
        effects = fit.effects.fill_diagonal_(0.0).numpy()
        gains = fit.constants.numpy() + fit.sizes.numpy() * (size - 1) + member @ effects
        return np.where(member, np.nan_to_num(np.where(size > 1, gains, 0.0)), np.nan)


def measure_random_groups(half: Half, rounds: int, seed: int, every_task: bool = False) -> None:
    """T groups of two and more a round, none twice while there are others, and each task alone.

    As many rounds as cost `rounds` times 2T trainings. With `every_task` the first of them is that
    of all tasks.
    """
    generator = np.random.default_rng(seed)
    rounds = half.rounds(rounds)
    together = np.flatnonzero(half.members.sum(axis=1) > 1)
    alone = [1 << task for task in range(half.n_tasks)]
    groups = np.concatenate([generator.permutation(together) for _ in range(rounds)])
    if every_task:
        groups = np.concatenate([together[-1:], groups[groups != together[-1]]])
    replicates = generator.permutation(half.n_replicates)
    for number in range(rounds):
        drawn = groups[number * half.n_tasks :][: half.n_tasks].tolist()
        half.measure([*alone, *drawn], [int(replicates[number % half.n_replicates])])


def some_replicates(half: Half, count: int | None, seed: int) -> list[int]:
    """So many of the half's replicates, drawn by the seed; all if None."""
    order = np.random.default_rng(seed).permutation(half.n_replicates)
    return order[: count or half.n_replicates].tolist()


@dataclass(frozen=True)
class SizeAlone:
    """A control: every task gains what groups of that size gain on average, whoever is in them.

    Args:
        rounds: Of random groups, as for `Ridge`.
    """

    rounds: int = 2

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        measure_random_groups(half, self.rounds, seed)
        sizes = half.members.sum(axis=1, dtype=float)
        return _predicted(half, np.repeat(sizes[:, None, None], half.n_tasks, axis=1))


@dataclass(frozen=True)
class SourcesAlone:
    """A control: a task's partners have the same effects on every target.

    Args:
        rounds: Of random groups, as for `Ridge`.
    """

    rounds: int = 2

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        measure_random_groups(half, self.rounds, seed)
        partners = half.members[:, None, :] & ~np.eye(half.n_tasks, dtype=bool)
        return _predicted(half, partners / np.maximum(1, partners.sum(axis=2, keepdims=True)))


def _predicted(half: Half, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains ``[group task]`` by a ridge regression on features ``[group task feature]``."""
    member = half.members
    size = member.sum(axis=1, keepdims=True)
    gains = half.gains()
    known = np.isfinite(gains) & (size > 1)
    fit = RidgeCV(np.logspace(-4, 2, 13)).fit(features[known], gains[known])
    predicted = fit.predict(features.reshape(-1, features.shape[2])).reshape(member.shape)
    return np.where(member, np.where(size > 1, predicted, 0.0), np.nan)
