"""A predictor of groups: what each task gains in company, as a sum over its partners."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import combinations

from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError

from .group_scores import CandidateGroup, GroupScores
from .matrix import AffinityMatrix

MOST_TASKS = 15


@dataclass(frozen=True, eq=False)
class GroupPredictor:
    r"""A linear model of what a task gains in a group.

    .. math::
        \hat{G}_j(S) = a_j + b_j (|S| - 1) + \sum_{i \in S \setminus j} \theta_{ij}, \qquad
        \hat{G}_j(\{j\}) = 0

    Args:
        tasks: Names, in the order of every axis.
        constants: a, the part of any company; NaN for a task that too few groups hold.
        sizes: b, the part of each partner, whoever it is.
        effects: theta, the part of each partner by name.
        pair_errors: Standard error of what is predicted of each pair.
        strength: The ridge's strength that cross-validation chose.
        explained: Share of the variance of gains over groups that is predicted of groups left out,
            beyond their mean. At or below 0 the composition of groups tells nothing.
        n_groups: How many groups each task was measured in.
    """

    tasks: tuple[str, ...]
    constants: Float[Tensor, " target"]
    sizes: Float[Tensor, " target"]
    effects: Float[Tensor, "source target"]
    pair_errors: Float[Tensor, "source target"]
    strength: float
    explained: Float[Tensor, " target"]
    n_groups: Int[Tensor, " target"]

    def gains(self, group: Collection[str]) -> dict[str, float]:
        """What each task of the group gains in it."""
        if unknown := sorted(set(group) - set(self.tasks)):
            raise InputError(
                f"Expected groups of the tasks {self.tasks}, but got {unknown}.", "unknown-task"
            )
        rows = [row for row, task in enumerate(self.tasks) if task in group]
        if len(rows) == 1:
            return {self.tasks[rows[0]]: 0.0}
        within = self.effects[rows][:, rows]
        within = within.sum(dim=0) - within.diagonal()
        gains = self.constants[rows] + self.sizes[rows] * (len(rows) - 1) + within
        return {self.tasks[row]: gain for row, gain in zip(rows, gains.tolist(), strict=True)}

    def predict(self, groups: Iterable[Collection[str]] | None = None) -> GroupScores:
        """What each task gains in each group and alone; in every group there is if None.

        Raises:
            InputError: If a task is unknown, or there are too many for every group.
        """
        if groups is None:
            if len(self.tasks) > MOST_TASKS:
                raise InputError(
                    f"Expected groups to predict, since {len(self.tasks)} tasks have "
                    f"{2 ** len(self.tasks) - 1:,}: pass those that could be trained.",
                    "too-many-tasks",
                )
            groups = (
                group
                for size in range(2, len(self.tasks) + 1)
                for group in combinations(self.tasks, size)
            )
        alone = ((task,) for task in self.tasks)
        distinct = dict.fromkeys(map(frozenset, (*alone, *groups)))
        return GroupScores(
            self.tasks, tuple(CandidateGroup(self.gains(group)) for group in distinct)
        )

    def matrix(self) -> AffinityMatrix:
        """What the target gains in a pair with the source."""
        values = self.constants + self.sizes + self.effects
        return AffinityMatrix(
            tasks=self.tasks,
            values=values.fill_diagonal_(0.0),
            standard_error=self.pair_errors,
            estimator=f"LinearSurrogate(strength={self.strength:g})",
        )
