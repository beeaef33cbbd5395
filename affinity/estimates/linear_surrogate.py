"""Linear surrogate: a ridge regression of measured gains on who else is in the group."""

from dataclasses import dataclass

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import TrainingResults

from .group_predictor import GroupPredictor
from .group_scores import GroupScores
from .measured_gains import measured_gains

FEWEST_GROUPS = 3


@dataclass(frozen=True)
class LinearSurrogate:
    r"""Ridge regression, a target at a time, of measured gains on the group's 0/1 vector.

    .. math::
        \min_{a, \theta}
        \sum_{S \ni j} w_S \Big(G_j(S) - a - \sum_{i \in S \setminus j} \theta_i\Big)^2
        + \lambda \sum_i \theta_i^2

    w counts the replicates of a group, with mean 1, so that a strength of 4 weighs as much as four
    groups in which a partner had no effect. The strength is the one of `strengths` that predicts
    groups left out best, over all targets, each in units of its variance. The constant is not
    shrunk: with nothing to learn from the composition, what is left is the mean gain of a group.
    The paper samples groups of one size; groups may be of any size here, and a task alone
    gains 0 by definition.

    Args:
        strengths: To choose from.
        sizes: Whether each target has an effect of the group's size, too, which is not shrunk.

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
                f"Expected at least {FEWEST_GROUPS} measured groups with a task, but no task has "
                "so many: train about four groups a task, drawn at random.",
                "too-few-groups",
            )
        strength = min(
            self.strengths,
            key=lambda each: sum(problem.left_out_error(each) for problem in fitting),
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
        each = measured_gains(measured).double()
        counts = each.isfinite().sum(dim=1).double()
        gains = each.nanmean(dim=1)
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
        """Squared error of groups left out, beside that of the mean of the others."""
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
        found = inverse @ (self.features.T @ (self.weights * self.gains))
        residual = self._left_out(self.features, penalty)
        noise = (self.weights * residual.square()).mean()
        partners = torch.eye(self.n_tasks).to(found)
        has_size = (self.features[:, 1] > 0).any().to(found).repeat(self.n_tasks, 1)
        pairs = torch.cat([torch.ones_like(has_size), has_size, partners], dim=1)
        errors = (noise * ((pairs @ inverse) * pairs).sum(dim=1)).sqrt()
        errors[self.target] = 0.0
        return found[0], found[1], found[2:], errors

    def _penalty(self, strength: float) -> Tensor:
        return torch.tensor([0.0, 0.0, *[strength] * self.n_tasks]).double()

    def _left_out(self, features: Tensor, penalty: Tensor) -> Tensor:
        """Residual of each group, predicted from all others: that of the fit over its leverage."""
        inverse = _inverse(features, self.weights, penalty)
        found = inverse @ (features.T @ (self.weights * self.gains))
        leverage = ((features @ inverse) * features).sum(dim=1) * self.weights
        return (self.gains - features @ found) / (1 - leverage).clamp(min=1e-6)


def _inverse(features: Tensor, weights: Tensor, penalty: Tensor) -> Tensor:
    normal = features.T @ (weights[:, None] * features) + torch.diag(penalty)
    return torch.linalg.pinv(normal, hermitian=True)
