"""Candidates: the groupings that may be best, given the posterior of every group's gain."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

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
    safest,
    solve,
    solve_posterior_samples,
)
from affinity.grouping.local_search import LocalSearch
from affinity.grouping.solve import grouping_problem

from .race_result import Candidate, NetworkGain

LISTED = 9  # the number of tasks, or of blocks of tasks, up to which all groups are candidates
FAILURES = 2  # failures of a group, without a success, after which it is not tried again
LOSS_AVERSION = 2.0  # how much a loss against the safer choice counts besides itself
_PROPOSED = 8  # samples of pair gains that propose groupings if not all groups can be listed
_MOVES = 40  # steps of the search that starts from the best expected grouping
_SOLVED = 48  # samples for which a grouping is solved if not all groups can be listed


@dataclass(frozen=True, eq=False)
class CandidateSet:
    """Candidate groups with posterior samples of their gains, and the best grouping of each.

    The gain of a group is the sum over its tasks divided by the number of all tasks, so that the
    gains of a grouping's groups add up to its mean gain.
    """

    tasks: tuple[str, ...]
    groups: Bool[np.ndarray, "group task"]
    mean: Float[np.ndarray, " group"]  # expected gain of each group
    values: Float[np.ndarray, "draw group"]  # posterior samples of each group's gain
    # the groups of each sample's best grouping; padded with -1
    chosen: Int64[np.ndarray, "draw network"]

    @classmethod
    def from_prediction(
        cls,
        predicted: PredictedGains,
        budget: int,
        known: Sequence[frozenset[str]],
        n_draws: int,
        seed: int,
        blocks: Sequence[frozenset[str]] | None = None,
    ) -> "CandidateSet":
        """Sample gains `n_draws` times; fewer times if not all groups can be listed.

        Groups in `known` are always candidates; all candidates are unions of `blocks`, or of tasks.
        """
        tasks = predicted.tasks
        blocks = blocks or [frozenset({task}) for task in tasks]
        units = np.array([[task in block for task in tasks] for block in blocks])
        if len(blocks) <= LISTED:
            groups = _unions(all_groups(len(blocks)), units)
        else:
            trained = np.array([[task in network for task in tasks] for network in known])
            groups = np.concatenate(
                [
                    units,
                    trained[trained.sum(axis=1) > 1],
                    _unions(_proposed(predicted, units, budget, seed), units),
                ]
            )
            groups = np.unique(groups, axis=0)
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

    def without(self, is_failing: Callable[[frozenset[str]], bool]) -> "CandidateSet":
        """The candidates, of which failing groups of several tasks are never expected to be best.

        `is_failing` tells whether a training of a group is expected to fail.
        """
        rows = [r for group, r in self._row_of.items() if len(group) > 1 and is_failing(group)]
        mean = self.mean.copy()
        mean[rows] -= 1e3 * max(1.0, float(np.abs(self.mean).max()))
        return replace(self, mean=mean)

    @property
    def best(self) -> Float[np.ndarray, " draw"]:
        """Mean gain over the tasks of each sample's best grouping."""
        taken = np.take_along_axis(self.values, np.maximum(self.chosen, 0), axis=1)
        return np.where(self.chosen >= 0, taken, 0.0).sum(axis=1)

    def best_expected(self, budget: int) -> Grouping:
        """The grouping with the highest expected mean gain, networks by their first tasks."""
        (rows,) = _best(self.tasks, self.groups, self.mean[None], budget)
        chosen = sorted(rows[rows >= 0].tolist(), key=lambda row: int(self.groups[row].argmax()))
        return Grouping(tuple(Network.of(*self.group(row)) for row in chosen))

    def prefer_simple(
        self, best: Grouping, safe: Sequence[Grouping], loss_aversion: float, tolerance: float
    ) -> Grouping:
        r"""The safe grouping, unless the best one is expected to be worth more.

        Over the posterior of the difference d of their mean gains, the best one must have

        .. math:: E[d] - a \, E[\max(-d, 0)] > tolerance / 2

        where a, the loss aversion, is how much a loss counts besides itself. Among safe groupings
        whose expected gains differ by no more than `tolerance`, the one with the fewest networks is
        taken.
        """
        if not safe:
            return best
        safer = safest(safe, self.expected, tolerance)
        difference = self.samples_of(best) - self.samples_of(safer)
        value = difference.mean() - loss_aversion * np.maximum(-difference, 0.0).mean()
        return best if value > tolerance / 2 else safer

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
        """The candidate groups of a grouping; tasks alone are left out, since they gain 0."""
        return [self._row_of[each.trained] for each in grouping.networks if not each.is_alone]

    @cached_property
    def _row_of(self) -> dict[frozenset[str], int]:
        return {self.group(row): row for row in range(len(self.groups))}

    def samples_of(self, grouping: Grouping) -> Float[np.ndarray, " draw"]:
        """Mean gain over the tasks under `grouping`, per sample."""
        return self.values[:, self.rows(grouping)].sum(axis=1)

    def expected(self, grouping: Grouping) -> float:
        """Expected mean gain over the tasks under `grouping`."""
        return float(self.mean[self.rows(grouping)].sum())

    def error_of_difference(
        self, predicted: PredictedGains, one: Grouping, other: Grouping
    ) -> float:
        """Standard error of the difference of two groupings' gains measured on one replicate."""
        networks = {*one.networks} ^ {*other.networks}
        groups = [[task in network.trained for task in self.tasks] for network in networks]
        if not groups:
            return 0.0
        errors = predicted.error_of_one_training(torch.tensor(groups))
        return float(errors.square().sum().sqrt()) / len(self.tasks)

    def worth_of_training(self, leading: Sequence[Grouping]) -> dict[int, float]:
        """For each group, how much its training may change which grouping is best.

        The number of samples whose best grouping has it, plus all of them for each of the `leading`
        groupings that has it, times the standard deviation of its gain.
        """
        weights: Counter[int] = Counter(self.chosen[self.chosen >= 0].tolist())
        for grouping in leading:
            weights.update(dict.fromkeys(self.rows(grouping), len(self.chosen)))
        spread = self.values.std(axis=0).tolist()
        return {row: weight * spread[row] for row, weight in weights.items()}

    def gain_of(self, network: Network) -> NetworkGain:
        """Expected mean gain of a network's tasks, with its 95 % interval."""
        if network.is_alone:
            return NetworkGain(network, 0.0, 0.0, 0.0)
        row, share = self._row_of[network.trained], len(network.trained) / len(self.tasks)
        low, high = np.quantile(self.values[:, row] / share, [0.025, 0.975])
        return NetworkGain(network, float(self.mean[row] / share), float(low), float(high))

    def group(self, row: int) -> frozenset[str]:
        """The tasks of a candidate group."""
        return frozenset(np.array(self.tasks, dtype=object)[self.groups[row]].tolist())


def can_be_trained(grouping: Grouping, is_failing: Callable[[frozenset[str]], bool]) -> bool:
    """Whether no network of several tasks is expected to fail."""
    shared = (network for network in grouping.networks if not network.is_alone)
    return not any(is_failing(network.trained) for network in shared)


def _best(
    tasks: tuple[str, ...],
    groups: Bool[np.ndarray, "group task"],
    values: Float[np.ndarray, "draw group"],
    budget: int,
) -> Int64[np.ndarray, "draw network"]:
    """The rows of the groups of each sample's best grouping."""
    if len(tasks) <= LISTED and len(groups) == 2 ** len(tasks) - 1:
        return solve_posterior_samples(values, len(tasks), budget)[1]
    units = np.unique(groups, axis=1)  # tasks that no candidate divides
    return np.stack([_solved(units, value, budget) for value in values])


def _solved(
    groups: Bool[np.ndarray, "group unit"], value: Float[np.ndarray, " group"], budget: int
) -> Int64[np.ndarray, " network"]:
    """The rows of the groups of the best grouping that consists of these candidates."""
    names = tuple(map(str, range(groups.shape[1])))
    candidates = [
        CandidateGroup({names[unit]: total / group.sum() for unit in np.flatnonzero(group)})
        for group, total in zip(groups, value.tolist(), strict=True)
    ]
    grouping = solve(GroupScores(names, tuple(candidates)), min(budget, len(names)), time_limit=5.0)
    row_of = {candidate.trained: row for row, candidate in enumerate(candidates)}
    rows = [row_of[network.trained] for network in grouping.networks]
    return np.array(rows + [-1] * (len(names) - len(rows)), dtype=np.int64)


def _unions(
    chosen: Bool[np.ndarray, "group unit"], units: Bool[np.ndarray, "unit task"]
) -> Bool[np.ndarray, "group task"]:
    return (chosen.astype(int) @ units.astype(int)) > 0


def _proposed(
    predicted: PredictedGains, units: Bool[np.ndarray, "unit task"], budget: int, seed: int
) -> Bool[np.ndarray, "group unit"]:
    """Groups of the best groupings for samples of pair gains, and of what is predicted better.

    Samples of the gains of pairs propose groupings. From the best of these, by the predicted gains
    of its whole groups, the best moves of a unit to another group, or to one of its own, and the
    best mergers of two groups follow until nothing is predicted to gain.
    """
    n_units, generator = len(units), torch.Generator().manual_seed(seed)
    source, target = np.nonzero(~np.eye(n_units, dtype=bool))
    pairs = torch.from_numpy(_unions(np.eye(n_units, dtype=bool)[source], units))
    pairs |= torch.from_numpy(units[target])
    first = torch.from_numpy(units.argmax(axis=1)[target])[:, None]  # a task of the target
    mean = predicted.mean(pairs).gather(1, first)[:, 0]
    deviation = predicted.standard_deviation(pairs).gather(1, first)[:, 0]
    names = tuple(map(str, range(n_units)))
    most = min(budget, max(2, -(-n_units // 3)))
    partitions: list[np.ndarray] = []
    for number in range(_PROPOSED):
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.double)
        values = torch.zeros(n_units, n_units, dtype=torch.double)
        values[source, target] = mean + deviation * noise * (number > 0)
        for networks in {most, max(1, most // 2)}:
            for pooling in ("mean", "sum"):
                problem = grouping_problem(  # without a bound, which is the most expensive part
                    AffinityMatrix(names, values),
                    networks,
                    overlap=False,
                    objective=GroupingObjective(pooling=pooling),
                    constraints=None,
                    time_limit=1.4,
                    seed=0,
                )
                grouping = LocalSearch()(problem)
                served = [each.served for each in grouping.networks]
                partitions.append(np.array([[name in group for name in names] for group in served]))
    candidates = _GroupGains(predicted, units)
    best = max(partitions, key=lambda groups: candidates(groups).sum())
    for _ in range(_MOVES):
        changed = _changes(best, budget)
        gains = candidates(np.concatenate(changed))
        parts = np.split(gains, np.cumsum([len(groups) for groups in changed])[:-1])
        better = max(range(len(changed)), key=lambda position: parts[position].sum())
        if parts[better].sum() <= candidates(best).sum() + 1e-9:
            break
        best = changed[better]
        partitions.append(best)
    return np.unique(np.concatenate(partitions), axis=0)


def _changes(
    groups: Bool[np.ndarray, "group unit"], budget: int
) -> list[Bool[np.ndarray, "_ unit"]]:
    """The partitions that one move of a unit or one merger of two groups leads to."""
    changed: list[np.ndarray] = []
    for one, other in combinations(range(len(groups)), 2):
        merged = np.delete(groups, other, axis=0)
        merged[one] |= groups[other]
        changed.append(merged)
    for unit in range(groups.shape[1]):
        own = int(groups[:, unit].argmax())
        for other in range(len(groups) + (len(groups) < budget)):
            if other != own and (groups[own].sum() > 1 or other < len(groups)):
                moved = np.concatenate([groups, np.zeros((1, groups.shape[1]), dtype=bool)])
                moved[own, unit], moved[other, unit] = False, True
                changed.append(moved[moved.any(axis=1)])
    return changed


class _GroupGains:
    """Expected total gains of groups of units, each computed once."""

    def __init__(self, predicted: PredictedGains, units: Bool[np.ndarray, "unit task"]) -> None:
        self.predicted, self.units = predicted, units
        self._known: dict[bytes, float] = {}

    def __call__(self, groups: Bool[np.ndarray, "group unit"]) -> Float[np.ndarray, " group"]:
        missing = {group.tobytes(): group for group in groups if group.tobytes() not in self._known}
        if missing:
            rows = torch.from_numpy(_unions(np.stack(list(missing.values())), self.units))
            totals = self.predicted.mean(rows).nansum(dim=1).tolist()
            self._known.update(zip(missing, totals, strict=True))
        return np.array([self._known[group.tobytes()] for group in groups])
