"""Linear surrogate: a ridge regression of measured gains on the partners in the group."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.errors import InputError, check_known
from affinity.problems import TrainingResults

from .group_scores import CandidateGroup, GroupScores
from .matrix import AffinityMatrix
from .measured_gains import measured_gains

MOST_TASKS = 15
FEWEST_GROUPS = 3


@dataclass(frozen=True, eq=False)
class GroupPredictor:
    r"""A linear model of the gain of a task in a group.

    .. math::
        \hat{G}_j(S) = a_j + b_j (|S| - 1) + \sum_{i \in S \setminus j} \theta_{ij}, \qquad
        \hat{G}_j(\{j\}) = 0

    Args:
        tasks: Names, in the order of every axis.
        constants: a, the effect of being in a group; NaN for a task that too few groups hold.
        sizes: b, the effect of each further partner, whichever it is.
        effects: theta, the effect of each partner by name.
        pair_errors: Standard error of the predicted gain of each pair.
        strength: The ridge penalty chosen by cross-validation.
        explained: Fraction of the variance of gains that is predicted in groups left out, beyond
            their mean. At or below 0, the composition of groups predicts nothing.
        n_groups: The number of groups in which each task was measured.
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
        """The predicted gain of each task of the group."""
        check_known("tasks of the group", group, self.tasks, "unknown-task")
        rows = [row for row, task in enumerate(self.tasks) if task in group]
        if len(rows) == 1:
            return {self.tasks[rows[0]]: 0.0}
        within = self.effects[rows][:, rows]
        within = within.sum(dim=0) - within.diagonal()
        gains = self.constants[rows] + self.sizes[rows] * (len(rows) - 1) + within
        return {self.tasks[row]: gain for row, gain in zip(rows, gains.tolist(), strict=True)}

    def predict(self, groups: Iterable[Collection[str]] | None = None) -> GroupScores:
        """The predicted gain of each task in each group and alone; in all groups if None.

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
        """Predicted gain of the target in a pair with the source."""
        values = self.constants + self.sizes + self.effects
        return AffinityMatrix(
            tasks=self.tasks,
            values=values.fill_diagonal_(0.0),
            standard_error=self.pair_errors,
            estimator=f"LinearSurrogate(strength={self.strength:g})",
        )


@dataclass(frozen=True)
class LinearSurrogate:
    r"""Ridge regression, one per target, of measured gains on the group's 0/1 vector.

    .. math::
        \min_{a, \theta}
        \sum_{S \ni j} w_S \Big(G_j(S) - a - \sum_{i \in S \setminus j} \theta_i\Big)^2
        + \lambda \sum_i \theta_i^2

    w counts the replicates of a group, with mean 1, so that a strength of 4 has the weight of four
    groups in which a partner had no effect. The strength is chosen by leave-one-out error over all
    targets, each in units of its variance. The constant is not shrunk: if the composition predicts
    nothing, the mean gain of a group remains. The paper samples groups of one size; groups may be
    of any size here, and the gain of a task alone is 0 by definition.

    Not scikit-learn's `RidgeCV`, since the targets have different groups but one common strength,
    the effect of the size is not shrunk, and errors of predicted pairs are needed.

    Args:
        strengths: The candidates for lambda.
        sizes: Whether each target also has an effect of the group's size, which is not shrunk.

    Raises:
        InputError: If a strength is not above 0, if tasks were not trained alone, or if fewer than
            three groups hold a task.

    References:
        Li et al. (2023), `Identification of Negative Transfers in Multitask Learning Using
        Surrogate Models <https://arxiv.org/abs/2303.14582>`_ (Transactions on Machine Learning
        Research).

    Example:
        >>> from affinity.estimates import CandidateGroup
        >>> scores = GroupScores(("a", "b", "c"), (
        ...     CandidateGroup({"a": 0.5, "b": 0.5}), CandidateGroup({"a": -0.25, "c": 0.0}),
        ...     CandidateGroup({"b": 0.0, "c": 0.0}),
        ...     CandidateGroup({"a": 0.25, "b": 0.5, "c": 0.0})))
        >>> predictor = LinearSurrogate(strengths=(1e-6,))(scores)
        >>> round(predictor.matrix().between("b", "a"), 3)
        0.5
    """

    strengths: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
    sizes: bool = False

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise InputError(
                f"Expected strengths above 0 to choose from, but got {self.strengths}",
                "invalid-setting",
            )

    def __call__(self, measured: TrainingResults | GroupScores) -> GroupPredictor:
        """Fit to the gains of groups."""
        tasks = measured.tasks
        groups, gains, counts = _rows(measured)
        problems = [
            _Regression(groups, gains[:, target], counts[:, target], target, self.sizes)
            for target in range(len(tasks))
        ]
        fitting = [problem for problem in problems if problem.n_groups >= FEWEST_GROUPS]
        if not fitting:
            raise InputError(
                f"Expected a task with at least {FEWEST_GROUPS} measured groups, but there is "
                "none: train about four random groups per task.",
                "too-few-groups",
            )
        strength = min(
            self.strengths,
            key=lambda strength: sum(problem.left_out_error(strength) for problem in fitting),
        )
        fits = [problem.fit(strength) for problem in problems]
        return GroupPredictor(
            tasks=tasks,
            constants=torch.stack([fit[0] for fit in fits]),
            sizes=torch.stack([fit[1] for fit in fits]),
            effects=torch.stack([fit[2] for fit in fits], dim=1),
            pair_errors=torch.stack([fit[3] for fit in fits], dim=1),
            strength=strength,
            explained=torch.tensor([1 - p.left_out_error(strength) for p in problems]).double(),
            n_groups=torch.tensor([problem.n_groups for problem in problems]),
        )


def _rows(measured: TrainingResults | GroupScores) -> tuple[Tensor, Tensor, Tensor]:
    """Groups ``[group task]`` as 0/1, mean gains ``[group task]``, and their replicates."""
    if isinstance(measured, TrainingResults):
        by_replicate = measured_gains(measured).double()
        counts = by_replicate.isfinite().sum(dim=1).double()
        gains = by_replicate.nanmean(dim=1)
        trained = measured.networks
    else:
        trained = tuple(candidate.trained for candidate in measured.candidates)
        gains = torch.tensor(
            [
                [candidate.scores.get(task, float("nan")) for task in measured.tasks]
                for candidate in measured.candidates
            ]
        ).double()
        counts = gains.isfinite().double()
    groups = torch.tensor([[float(task in group) for task in measured.tasks] for group in trained])
    return groups.double(), gains, counts


class _Regression:
    """The regression of one target, from the groups of at least two that hold it."""

    def __init__(
        self, groups: Tensor, gains: Tensor, counts: Tensor, target: int, has_sizes: bool
    ) -> None:
        used = gains.isfinite() & (groups[:, target] > 0) & (groups.sum(dim=1) > 1)
        self.n_groups = int(used.sum())
        self.target = target
        partners = groups[used]
        partners[:, target] = 0.0
        size = partners.sum(dim=1, keepdim=True) * float(has_sizes)
        self.features = torch.cat([torch.ones_like(size), size, partners], dim=1)
        self.gains = gains[used]
        self.weights = counts[used] / counts[used].mean()
        self.n_tasks = groups.shape[1]

    def left_out_error(self, strength: float) -> float:
        """Squared leave-one-out error, relative to predicting the mean of the other groups."""
        if self.n_groups < FEWEST_GROUPS:
            return float("nan")
        mean = self.gains.new_ones(self.n_groups, 1)
        constant = self._left_out(mean, self.gains.new_zeros(1))
        residual = self._left_out(self.features, self._penalty(strength))
        spread = (self.weights * constant.square()).sum()
        return ((self.weights * residual.square()).sum() / spread).item() if spread > 0 else 1.0

    def fit(self, strength: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Constant, effect of size, effects of partners, and the errors of predicted pairs."""
        if self.n_groups < FEWEST_GROUPS:
            nothing = self.gains.new_tensor(torch.nan)
            return nothing, nothing, nothing.repeat(self.n_tasks), nothing.repeat(self.n_tasks)
        penalty = self._penalty(strength)
        inverse = _inverse(self.features, self.weights, penalty)
        weights = inverse @ (self.features.T @ (self.weights * self.gains))
        residual = self._left_out(self.features, penalty)
        noise = (self.weights * residual.square()).mean()
        partners = torch.eye(self.n_tasks).to(weights)
        has_size = (self.features[:, 1] > 0).any().to(weights).repeat(self.n_tasks, 1)
        pairs = torch.cat([torch.ones_like(has_size), has_size, partners], dim=1)
        errors = (noise * ((pairs @ inverse) * pairs).sum(dim=1)).sqrt()
        errors[self.target] = 0.0
        return weights[0], weights[1], weights[2:], errors

    def _penalty(self, strength: float) -> Tensor:
        return torch.tensor([0.0, 0.0, *[strength] * self.n_tasks]).double()

    def _left_out(self, features: Tensor, penalty: Tensor) -> Tensor:
        """Leave-one-out residual of each group: its residual divided by 1 - leverage."""
        inverse = _inverse(features, self.weights, penalty)
        weights = inverse @ (features.T @ (self.weights * self.gains))
        leverage = ((features @ inverse) * features).sum(dim=1) * self.weights
        return (self.gains - features @ weights) / (1 - leverage).clamp(min=1e-6)


def _inverse(features: Tensor, weights: Tensor, penalty: Tensor) -> Tensor:
    normal = features.T @ (weights[:, None] * features) + torch.diag(penalty)
    return torch.linalg.pinv(normal, hermitian=True)
