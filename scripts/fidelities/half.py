"""Half of the replicates, as a method sees them: what it asks for is counted."""

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from affinity.errors import InputError
from affinity.problems import TrainingResults

from .groupings import members
from .measured import Measured, gains_of


@dataclass(frozen=True, eq=False)
class Half:
    """The replicates that a method may measure on, and the runs it may record.

    Replicates are numbered from 0 within the half. Nothing is known until it is asked for, and
    each training asked for is counted once: a group on a replicate (a task alone is a group, too,
    and needed to tell gains), a recorded run.

    Args:
        measured: The table.
        replicates: Which of its replicates are in this half.
    """

    measured: Measured
    replicates: tuple[int, ...]
    _asked: set[tuple[int, int]] = field(default_factory=set)
    _recorded: set[int] = field(default_factory=set)
    _foretold: dict[tuple[str, int], int] = field(default_factory=dict)
    _branched: set[tuple[int, int]] = field(default_factory=set)

    @property
    def n_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.measured.tasks)

    @property
    def n_replicates(self) -> int:
        """How many replicates can be measured on."""
        return len(self.replicates)

    @property
    def members(self) -> NDArray[np.bool_]:
        """``[group task]``; whether the group has the task. Group 0 is empty."""
        return members(self.n_tasks)

    def measure(self, groups: Iterable[int], replicates: Iterable[int]) -> None:
        """Train these groups on each of these replicates."""
        numbers = [self.replicates[each] for each in replicates]
        self._asked.update((number, group) for group in groups for number in numbers)

    def branch(self, groups: Iterable[int], replicates: Iterable[int]) -> TrainingResults:
        """Let these groups branch on each of these replicates."""
        assert self.measured.branches is not None  # the method needs them
        numbers, chosen = [self.replicates[each] for each in replicates], sorted(set(groups))
        self._branched.update((number, group) for group in chosen for number in numbers)
        return self._as_measurements(self.measured.branches[numbers], np.array(chosen))

    def losses(self) -> NDArray[np.float64]:
        """``[replicate group task]``; NaN where nothing was measured."""
        known = np.full_like(self.measured.losses, np.nan)
        for number, group in self._asked:
            known[number, group] = self.measured.losses[number, group]
        return known[list(self.replicates)]

    def measurements(self) -> TrainingResults:
        """The same as the estimators of measured groups take it."""
        losses = self.losses()
        groups = np.flatnonzero(~np.isnan(losses).all(axis=(0, 2)))
        return self._as_measurements(losses, groups)

    def _as_measurements(
        self, losses: NDArray[np.float64], groups: NDArray[np.int64]
    ) -> TrainingResults:
        evaluation = torch.from_numpy(losses[:, groups].transpose(1, 0, 2).copy())
        names = self.measured.tasks
        networks = [
            frozenset(name for at, name in enumerate(names) if group >> at & 1)
            for group in groups.tolist()
        ]
        return TrainingResults.from_losses(networks, names, evaluation)

    def gains(self) -> NDArray[np.float64]:
        """``[group task]``: mean over the replicates on which it was measured, alone too.

        NaN where a task was not measured both in the group and alone on one replicate.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
            return np.nanmean(gains_of(self.losses()), axis=0)

    def affinity(self, estimator: str, seed: int = 0) -> NDArray[np.float64]:
        """``[source target]`` from one recorded run, drawn by the seed; NaN where undefined.

        Raises:
            InputError: If no run of this half was recorded with the estimator.
        """
        found = self.measured.affinities.get(estimator, {})
        if -1 in found:
            return found[-1].copy()
        run = self._drawn(found, estimator, seed)
        self._recorded.add(run)
        return found[run].copy()

    def foretold(self, estimator: str, seed: int, trainings: int) -> NDArray[np.float64]:
        """Gains ``[group task]`` that networks of one replicate foretell, drawn by the seed.

        Args:
            estimator: What says them.
            seed: Draws the replicate.
            trainings: How many networks it looks at.

        Raises:
            InputError: If no replicate of this half has them.
        """
        found = self.measured.foretold.get(estimator, {})
        run = self._drawn(found, estimator, seed)
        self._foretold[estimator, run] = trainings
        return found[run].gains.copy()

    def _drawn(self, found: Collection[int], estimator: str, seed: int) -> int:
        """One of the replicates with a run, of those in this half."""
        runs = [number for number in self.replicates if number in found]
        if not runs:
            raise InputError(
                f"Expected a recorded run of {self.measured.table} with {estimator!r} among the "
                f"replicates {self.replicates}, but there are those of {sorted(found)}."
            )
        return runs[seed % len(runs)]

    def rounds(self, count: int) -> int:
        """How many rounds cost `count` times 2T trainings: T tasks alone and T groups in each.

        A task alone is trained once on a replicate, so few replicates leave room for more groups.
        """
        return max(count, 2 * count - self.n_replicates)

    @property
    def trainings(self) -> float:
        """How many trainings were asked for; a branch counts as far as it costs."""
        branched = self.measured.branch_cost * len(self._branched)
        networks = len(self._asked) + len(self._recorded) + sum(self._foretold.values())
        return networks + branched

    @property
    def seconds(self) -> float:
        """How long those trainings took."""
        cells = sum(float(self.measured.seconds[cell]) for cell in self._asked)
        cells += len(self._branched) * self.measured.branch_cost * self.measured.seconds.mean()
        cells += sum(self.measured.foretold[name][run].seconds for name, run in self._foretold)
        return cells + sum(self.measured.recording.get(run, 0.0) for run in self._recorded)
