"""The measure: decide on one half of the replicates, be judged on the other, over many halvings."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from .groupings import groupings_of, members
from .half import Half
from .measured import Measured, gains_of

Answer = NDArray[np.float64] | tuple[int, ...]
"""Predicted gains ``[group task]`` of every group, or the groups of the grouping chosen."""


class Method(Protocol):
    """Anything that decides.

    It is called with a half that it may measure on, a budget (at most so many groups) and a seed
    for whatever it draws. It returns the gains that it predicts for every group, from which the
    exact solver chooses; or the grouping that it chose itself, as group numbers (bit t of a group
    is task t). What returns predictions is asked once and its answer used for every budget; what
    chooses is asked for each budget, on a fresh half. A method with a field `estimator` is left
    out of tables for which there are not two recorded runs with it, one for each half; one that
    `needs_branches`, out of tables without branches.
    """

    def __call__(self, half: Half, budget: int, seed: int) -> Answer: ...


@dataclass(frozen=True, eq=False)
class Choices:
    """What one method's choices within one budget were worth.

    Args:
        gains: ``[replicate]``, mean over the tasks and over the halvings in which the replicate
            judged; ``[draw]`` where one replicate judges every draw of the method.
        trainings: Mean over the halvings.
        seconds: Mean over the halvings; of the trainings and of the method.
        spearman: Mean over tasks and halvings; NaN where nothing was predicted.
    """

    gains: NDArray[np.float64]
    trainings: float
    seconds: float
    spearman: float


@dataclass(frozen=True, eq=False)
class Judged:
    """All choices on one table, and what they stand beside.

    Args:
        table: The table.
        n_tasks: How many tasks it has.
        choices: By method and budget.
        random: Like a choice's gains, by budget: the mean over all groupings within it.
        ceiling: What the true gains would reach as `Choices.spearman`: the root of the agreement
            of the two halves.
        is_replay: Whether one replicate judged draws of the method.
    """

    table: str
    n_tasks: int
    choices: dict[tuple[str, int], Choices]
    random: dict[int, NDArray[np.float64]]
    ceiling: float
    is_replay: bool

    @property
    def budgets(self) -> tuple[int, ...]:
        """The budgets, in order."""
        return tuple(self.random)


@dataclass
class _Sum:
    gains: NDArray[np.float64]
    counts: NDArray[np.int64]
    trainings: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    spearman: list[float] = field(default_factory=list)


def measure(
    measured: Measured, methods: Mapping[str, Method], halvings: int = 50, seed: int = 0
) -> Judged:
    """Judge the methods on one table.

    Args:
        measured: The table.
        methods: By name.
        halvings: How often a method decides; the replicates are halved half as often, since each
            half judges what was decided on the other. Where there is one replicate, as in a
            replay, this is how often a method draws anew.
        seed: Decides the halvings.
    """
    n_tasks = len(measured.tasks)
    groupings = groupings_of(n_tasks)
    budgets = tuple(dict.fromkeys((1, 2, 3, n_tasks)))
    present = {
        name: method
        for name, method in methods.items()
        if getattr(method, "estimator", None) in {None, *measured.estimators}
        and (measured.branches is not None or not getattr(method, "needs_branches", False))
    }
    gains, judging_gains = gains_of(measured.losses), gains_of(measured.judging)
    worth = groupings.totals(judging_gains) / n_tasks  # replicate grouping
    is_replay = measured.n_replicates == 1
    empty = np.zeros(halvings if is_replay else measured.n_replicates)
    sums = {
        (name, budget): _Sum(empty.copy(), empty.astype(int))
        for name in present
        for budget in budgets
    }
    agreement: list[float] = []
    for number, (seen, judging) in enumerate(_halvings(measured, halvings, seed)):
        held_out = judging_gains[judging].mean(axis=0)
        agreement.append(per_task_spearman(gains[seen].mean(axis=0), held_out))
        for name, method in present.items():
            for budget, made in _decisions(measured, method, seen, number, budgets).items():
                total = sums[name, budget]
                at = [number] if is_replay else judging
                total.gains[at] += worth[judging, made.grouping]
                total.counts[at] += 1
                total.trainings.append(made.half.trainings)
                total.seconds.append(made.half.seconds + made.seconds)
                if made.predicted is not None and budget == budgets[0]:
                    total.spearman.append(per_task_spearman(made.predicted, held_out))
    spearman = {name: sums[name, budgets[0]].spearman for name in present}
    return Judged(
        table=measured.table,
        n_tasks=n_tasks,
        choices={
            (name, budget): _mean(total, spearman[name]) for (name, budget), total in sums.items()
        },
        random={
            budget: worth[:, groupings.within(budget)].mean(axis=1) + np.zeros(len(empty))
            for budget in budgets
        },
        ceiling=float(np.sqrt(max(0.0, np.nanmean(agreement)))),
        is_replay=is_replay,
    )


def per_task_spearman(predicted: NDArray[np.float64], gains: NDArray[np.float64]) -> float:
    """Rank correlation over the groups of two and more that hold a task, mean over the tasks.

    NaN where no task has predictions that differ.
    """
    n_tasks = predicted.shape[-1]
    member = members(n_tasks)
    together = member & (member.sum(axis=1) > 1)[:, None]
    found: list[float] = []
    for task in range(n_tasks):
        ours, theirs = predicted[together[:, task], task], gains[together[:, task], task]
        if np.ptp(ours) > 1e-12 and np.ptp(theirs) > 0:
            ranks = stats.rankdata(ours.round(12)), stats.rankdata(theirs)
            found.append(float(np.corrcoef(*ranks)[0, 1]))
    return float(np.mean(found)) if found else float("nan")


def _halvings(measured: Measured, halvings: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """What is seen and what judges; each half has a run of what was recorded or trained twice."""
    count = measured.n_replicates
    if count == 1:
        return [([0], [0])] * halvings
    by_run = [set(found) for found in [*measured.affinities.values(), *measured.foretold.values()]]
    twice = {frozenset(runs) for runs in by_run if len(runs) > 1}
    generator = np.random.default_rng(seed)
    found: list[tuple[list[int], list[int]]] = []
    while len(found) < halvings:
        order = generator.permutation(count).tolist()
        one, other = (sorted(half) for half in (order[: count // 2], order[count // 2 :]))
        if all(runs & set(one) and runs & set(other) for runs in twice):
            found += [(one, other), (other, one)]
    return found


@dataclass(frozen=True, eq=False)
class _Decision:
    grouping: int
    half: Half
    seconds: float
    predicted: NDArray[np.float64] | None


def _decisions(
    measured: Measured, method: Method, seen: list[int], seed: int, budgets: Sequence[int]
) -> dict[int, _Decision]:
    """What one method chooses within each budget when it sees these replicates."""
    groupings = groupings_of(len(measured.tasks))
    made: dict[int, _Decision] = {}
    predicted, half, spent = None, Half(measured, tuple(seen)), 0.0
    for budget in budgets:
        if predicted is None:
            half = Half(measured, tuple(seen))
            began = time.process_time()
            answer = method(half, budget, seed)
            spent = time.process_time() - began
            if isinstance(answer, np.ndarray):
                predicted, chosen = answer, groupings.best(answer, budget)
            else:
                chosen = groupings.number(answer)
        else:
            chosen = groupings.best(predicted, budget)
        if groupings.sizes[chosen] > budget:
            raise ValueError(f"Expected at most {budget} groups, but {method} chose more.")
        made[budget] = _Decision(chosen, half, spent, predicted)
    return made


def _mean(total: _Sum, spearman: Sequence[float]) -> Choices:
    known = [each for each in spearman if not np.isnan(each)]
    return Choices(
        gains=total.gains / total.counts,
        trainings=float(np.mean(total.trainings)),
        seconds=float(np.mean(total.seconds)),
        spearman=float(np.mean(known)) if known else float("nan"),
    )
