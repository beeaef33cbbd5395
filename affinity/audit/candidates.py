"""Candidates: the groupings that may be best, given the posterior of every group's gain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from affinity.estimates import AffinityMatrix, PredictedGains
from affinity.grouping import (
    CandidateGroup,
    Grouping,
    GroupingObjective,
    GroupScores,
    Network,
    all_groups,
    solve,
    solve_posterior_samples,
)
from affinity.grouping.local_search import LocalSearch
from affinity.grouping.solve import grouping_problem

from .race_result import Candidate, NetworkGain

LISTED = 9
"""The number of tasks up to which all groups are candidates."""

_PROPOSED = 8  # samples of pair gains that propose groupings if not all groups can be listed
_SOLVED = 48  # samples for which a grouping is solved if not all groups can be listed


@dataclass(frozen=True, eq=False)
class CandidateSet:
    """Candidate groups with posterior samples of their gains, and the best grouping of each.

    The gain of a group is the sum over its tasks divided by the number of all tasks, so that the
    gains of a grouping's groups add up to its mean gain.

    Args:
        tasks: The tasks.
        groups: Candidate groups.
        mean: Expected gain of each group.
        values: Posterior samples of each group's gain.
        chosen: The groups of each sample's best grouping; padded with -1.
    """

    tasks: tuple[str, ...]
    groups: Bool[np.ndarray, "group task"]
    mean: Float[np.ndarray, " group"]
    values: Float[np.ndarray, "draw group"]
    chosen: Int64[np.ndarray, "draw network"]

    @classmethod
    def from_prediction(
        cls,
        predicted: PredictedGains,
        budget: int,
        known: Sequence[frozenset[str]],
        n_draws: int,
        seed: int,
    ) -> "CandidateSet":
        """Sample gains `n_draws` times.

        Args:
            predicted: Posterior of every group's gains.
            budget: Maximum number of networks.
            known: Groups that are always candidates, even if not all groups can be listed.
            n_draws: Number of samples; fewer if not all groups can be listed.
            seed: Random seed of the samples.
        """
        tasks = predicted.tasks
        if len(tasks) <= LISTED:
            groups = all_groups(len(tasks))
        else:
            groups = _proposed(predicted, budget, known, seed)
            n_draws = min(n_draws, _SOLVED)
        rows = torch.from_numpy(groups)
        values = predicted.draw_totals(rows, n_draws, seed).numpy() / len(tasks)
        return cls(
            tasks=tasks,
            groups=groups,
            mean=predicted.mean(rows).nansum(dim=1).numpy() / len(tasks),
            values=values,
            chosen=_best(tasks, groups, values, budget),
        )

    @property
    def best(self) -> Float[np.ndarray, " draw"]:
        """Mean gain over the tasks of each sample's best grouping."""
        taken = np.take_along_axis(self.values, np.maximum(self.chosen, 0), axis=1)
        return np.where(self.chosen >= 0, taken, 0.0).sum(axis=1)

    def best_expected(self, budget: int) -> Grouping:
        """The grouping with the highest expected mean gain over the tasks."""
        (rows,) = _best(self.tasks, self.groups, self.mean[None], budget)
        return Grouping(tuple(Network.of(*self.group(row)) for row in rows.tolist() if row >= 0))

    def prefer_simple(
        self, best: Grouping, safe: Sequence[Grouping], probability: float, tolerance: float
    ) -> Grouping:
        """The safe grouping, unless the best one gains more by more than `tolerance`.

        The best one must do that with the given probability. Among safe groupings whose gains
        differ by no more than `tolerance`, the one with the fewest networks is taken.
        """
        if not safe:
            return best
        enough = max(map(self.expected, safe)) - tolerance
        safest = min(
            (each for each in safe if self.expected(each) >= enough),
            key=lambda each: len(each.networks),
        )
        is_better = self.samples_of(best) > self.samples_of(safest) + tolerance
        return best if is_better.mean() > probability else safest

    def describe(
        self,
        name: str,
        grouping: Grouping,
        plan: Grouping,
        top: Float[np.ndarray, " draw"],
        tolerance: float,
    ) -> Candidate:
        """Compare a grouping with the plan and with the best grouping of each sample."""
        samples = self.samples_of(grouping)
        low, high = np.quantile(samples, [0.025, 0.975])
        return Candidate(
            name=name,
            grouping=grouping,
            gain=self.expected(grouping),
            low=float(low),
            high=float(high),
            probability=float((samples >= top - tolerance).mean()),
            as_good=float((samples >= self.samples_of(plan) - tolerance).mean()),
        )

    def rows(self, grouping: Grouping) -> list[int]:
        """The candidate groups of a grouping."""
        return [self.row(network.trained) for network in grouping.networks]

    def row(self, group: frozenset[str]) -> int:
        """The row of a candidate group."""
        wanted = np.array([task in group for task in self.tasks])
        return int(np.flatnonzero((self.groups == wanted).all(axis=1))[0])

    def samples_of(self, grouping: Grouping) -> Float[np.ndarray, " draw"]:
        """Mean gain over the tasks under `grouping`, per sample."""
        return self.values[:, self.rows(grouping)].sum(axis=1)

    def expected(self, grouping: Grouping) -> float:
        """Expected mean gain over the tasks under `grouping`."""
        return float(self.mean[self.rows(grouping)].sum())

    def gain_of(self, network: Network) -> NetworkGain:
        """Expected mean gain of a network's tasks, with its 95 % interval."""
        row, share = self.row(network.trained), len(network.trained) / len(self.tasks)
        low, high = np.quantile(self.values[:, row] / share, [0.025, 0.975])
        return NetworkGain(network, float(self.mean[row] / share), float(low), float(high))

    def group(self, row: int) -> frozenset[str]:
        """The tasks of a candidate group."""
        return frozenset(np.array(self.tasks, dtype=object)[self.groups[row]].tolist())


def _best(
    tasks: tuple[str, ...],
    groups: Bool[np.ndarray, "group task"],
    values: Float[np.ndarray, "draw group"],
    budget: int,
) -> Int64[np.ndarray, "draw network"]:
    """The rows of the groups of each sample's best grouping."""
    if len(groups) == 2 ** len(tasks) - 1:
        return solve_posterior_samples(values, len(tasks), budget)[1]
    return np.stack([_solved(tasks, groups, value, budget) for value in values])


def _solved(
    tasks: tuple[str, ...],
    groups: Bool[np.ndarray, "group task"],
    value: Float[np.ndarray, " group"],
    budget: int,
) -> Int64[np.ndarray, " network"]:
    """The rows of the groups of the best grouping that consists of these candidates."""
    names = np.array(tasks, dtype=object)
    candidates = [
        CandidateGroup({name: total / group.sum() for name in names[group].tolist()})
        for group, total in zip(groups, value.tolist(), strict=True)
    ]
    grouping = solve(GroupScores(tasks, tuple(candidates)), min(budget, len(tasks)), time_limit=5.0)
    row_of = {candidate.trained: row for row, candidate in enumerate(candidates)}
    rows = [row_of[network.trained] for network in grouping.networks]
    return np.array(rows + [-1] * (budget - len(rows)), dtype=np.int64)


def _proposed(
    predicted: PredictedGains, budget: int, known: Sequence[frozenset[str]], seed: int
) -> Bool[np.ndarray, "group task"]:
    """The known groups, and the groups of the best groupings for samples of pair gains."""
    tasks = predicted.tasks
    source, target = np.nonzero(~np.eye(len(tasks), dtype=bool))
    pairs = np.zeros((len(source), len(tasks)), dtype=bool)
    pairs[np.arange(len(source)), source] = pairs[np.arange(len(source)), target] = True
    mean = predicted.mean(torch.from_numpy(pairs))
    deviation = predicted.standard_deviation(torch.from_numpy(pairs))
    generator = torch.Generator().manual_seed(seed)
    proposed = dict.fromkeys(known)
    for number in range(_PROPOSED):
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.double)
        sample = mean + deviation * noise * (number > 0)
        values = torch.zeros(len(tasks), len(tasks), dtype=torch.double)
        values[source, target] = sample[torch.arange(len(source)), target]
        for networks in {budget, max(2, budget // 2)}:
            for pooling in ("mean", "sum"):
                problem = grouping_problem(  # without a bound, which is the most expensive part
                    AffinityMatrix(tasks, values),
                    min(networks, len(tasks)),
                    overlap=False,
                    objective=GroupingObjective(pooling=pooling),
                    constraints=None,
                    time_limit=1.4,
                    seed=0,
                )
                grouping = LocalSearch()(problem)
                proposed.update(dict.fromkeys(network.trained for network in grouping.networks))
    return np.array([[task in group for task in tasks] for group in proposed])
