"""Objective: the score of a grouping, summed over the tasks it serves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import numpy as np
import torch

from affinity.errors import InputError, check_choice, check_known, check_number, check_same
from affinity.estimates import AffinityMatrix, GroupScores
from affinity.words import shorten

from .grouping import Grouping
from .solver_scores import Pairs, Table


@dataclass(frozen=True)
class GroupingObjective:
    r"""Weighted sum over the tasks of each task's score in the network that serves it.

    .. math::
        \sum_t w_t \, s_t(G_t), \qquad
        s_t(G) = \frac{1}{|G| - 1} \sum_{i \in G, i \neq t} A_{it}

    with :math:`G_t` the tasks trained in the network that serves :math:`t`: the mean affinity
    from its partners, or their sum without the fraction. A task trained alone scores its
    lone-task term.

    Args:
        pooling: ``"mean"`` of the partners' affinities (TAG, HOA), or their ``"sum"``.
        lone: The score of a task trained alone: a number for all, one per task, the ``"diagonal"``
            of the matrix, or ``"forbidden"``.
        weights: Importance of each task named; 1 for the others.
        unknown: The value used for NaN in the matrix; if None, NaN is an error.

    References:
        Fifty et al. (2021), `Efficiently Identifying Task Groupings for Multi-Task Learning
        <https://arxiv.org/abs/2109.04617>`_; Standley et al. (2020), `Which Tasks Should Be Learned
        Together? <https://arxiv.org/abs/1905.07553>`_.

    Example:
        >>> import torch
        >>> from affinity.grouping import Grouping, Network
        >>> matrix = AffinityMatrix(("depth", "edges"), torch.tensor([[0.0, 0.25], [0.5, 0.0]]))
        >>> GroupingObjective().score(matrix, Grouping((Network.of("depth", "edges"),)))
        0.75
    """

    pooling: Literal["mean", "sum"] = "mean"
    lone: float | Mapping[str, float] | Literal["diagonal", "forbidden"] = 0.0
    weights: Mapping[str, float] | None = None
    unknown: float | None = None

    def __post_init__(self) -> None:
        check_choice("pooling", self.pooling, ("mean", "sum"), "invalid-objective")
        if isinstance(self.lone, str):
            check_choice("lone", self.lone, ("diagonal", "forbidden"), "invalid-objective")
        for name, numbers in (
            ("lone", self.lone.values() if isinstance(self.lone, Mapping) else [self.lone]),
            ("weights", (self.weights or {}).values()),
            ("unknown", [] if self.unknown is None else [self.unknown]),
        ):
            if any(not isinstance(n, str) and not isfinite(n) for n in numbers):
                raise InputError(
                    f"Expected {name} to be finite, but got {getattr(self, name)}.",
                    "invalid-objective",
                )
        for task, weight in (self.weights or {}).items():
            check_number(f"the weight of {task!r}", weight, "invalid-objective", least=0)

    @classmethod
    def tag(cls) -> "GroupingObjective":
        """TAG's rule: the mean over partners, and no task may stand alone.

        The published selector scores a lone task -1,000,000; here it is a constraint.
        """
        return cls(lone="forbidden")

    def score(self, matrix: AffinityMatrix, grouping: Grouping) -> float:
        """The weighted sum of `task_scores`; minus infinity where the grouping is forbidden."""
        return sum(self.task_scores(matrix, grouping).values())

    def task_scores(self, matrix: AffinityMatrix, grouping: Grouping) -> dict[str, float]:
        """Each task's weighted score in the network that serves it."""
        grouped = sorted(grouping.tasks)
        check_same("the tasks of the grouping", grouped, sorted(matrix.tasks), "different-tasks")
        pairs = self.pairs(matrix)
        scores: dict[str, float] = {}
        for network in grouping.networks:
            trained = [pairs.tasks.index(task) for task in sorted(network.trained)]
            for task in network.served:
                scores[task] = pairs.score(trained, [pairs.tasks.index(task)])
        return {task: scores[task] for task in matrix.tasks}

    def pairs(self, matrix: AffinityMatrix) -> Pairs:
        """The matrix as the solvers read it: weighted, checked, tasks in the order of their names.

        Raises:
            InputError: If a value is infinite, or NaN while `unknown` is not set.
        """
        values = matrix.values.detach().to(device="cpu", dtype=torch.float64).numpy().copy()
        others = ~np.eye(len(matrix.tasks), dtype=bool)
        infinite = np.argwhere(np.isinf(values) & others)
        if len(infinite):
            raise InputError(
                f"Expected finite affinities, but they are infinite from "
                f"{_name_pairs(matrix.tasks, infinite)}.",
                "infinite-affinity",
            )
        unknown = np.argwhere(np.isnan(values) & others)
        if len(unknown) and self.unknown is None:
            raise InputError(
                f"Expected an affinity for every pair, but it is NaN from "
                f"{_name_pairs(matrix.tasks, unknown)}. Measure them, or choose a value for them: "
                "GroupingObjective(unknown=0.0).",
                "unknown-affinity",
            )
        values[np.isnan(values) & others] = self.unknown
        order = sorted(range(len(matrix.tasks)), key=matrix.tasks.__getitem__)
        tasks = tuple(matrix.tasks[index] for index in order)
        self._check_named(tasks)
        weights = np.array([(self.weights or {}).get(task, 1.0) for task in tasks])
        values = values[np.ix_(order, order)]
        lone = self._lone(tasks, np.diag(values).copy()) * weights
        np.fill_diagonal(values, 0.0)
        return Pairs(
            tasks=tasks,
            onto=values * weights,
            lone=lone,
            is_mean=self.pooling == "mean",
            smallest=2 if self.lone == "forbidden" else 1,
        )

    def table(self, scores: GroupScores) -> Table:
        """Group scores as the solvers read them: weighted, tasks in the order of their names.

        A table has its own scores of lone tasks; of `lone` only ``"forbidden"`` has an effect.
        """
        tasks = tuple(sorted(scores.tasks))
        self._check_named(tasks)
        index = {task: position for position, task in enumerate(tasks)}
        candidates = [
            candidate
            for candidate in scores.candidates
            if len(candidate.trained) > 1 or self.lone != "forbidden"
        ]
        trained = np.zeros((len(candidates), len(tasks)), dtype=bool)
        values = np.full((len(candidates), len(tasks)), np.nan)
        for row, candidate in enumerate(candidates):
            for task, score in candidate.scores.items():
                trained[row, index[task]] = True
                values[row, index[task]] = score
        weights = np.array([(self.weights or {}).get(task, 1.0) for task in tasks])
        return Table(
            tasks=tasks,
            trained=trained,
            scores=values * weights,
            costs=np.array([candidate.cost for candidate in candidates], dtype=np.float64),
            variants=tuple(candidate.variant for candidate in candidates),
        )

    def _lone(self, tasks: tuple[str, ...], diagonal: np.ndarray) -> np.ndarray:
        if self.lone == "diagonal":
            if not np.isfinite(diagonal).all():
                named = [
                    task for task, value in zip(tasks, diagonal, strict=True) if not isfinite(value)
                ]
                raise InputError(
                    f'Expected a finite diagonal for lone="diagonal", but that of {named} is not.',
                    "unknown-affinity",
                )
            return diagonal
        if isinstance(self.lone, Mapping):
            return np.array([self.lone.get(task, 0.0) for task in tasks])
        return np.full(len(tasks), 0.0 if isinstance(self.lone, str) else self.lone)

    def _check_named(self, tasks: tuple[str, ...]) -> None:
        named = {
            "weights": set(self.weights or {}),
            "lone": set(self.lone) if isinstance(self.lone, Mapping) else set[str](),
        }
        for field, names in named.items():
            check_known(f"{field} of tasks", sorted(names), tasks, "unknown-task")


def _name_pairs(tasks: tuple[str, ...], where: Iterable[np.ndarray]) -> str:
    return shorten((f"{tasks[source]!r} onto {tasks[target]!r}" for source, target in where), 5)
