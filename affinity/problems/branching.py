"""Branching: short trainings of groups from one shared, partly trained network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from affinity.errors import InputError, check_number
from affinity.tasks import Replicate
from affinity.training import Initialization, works_at_once

from .problem import Problem
from .train_networks import TrainingResults, train_networks


@dataclass(frozen=True)
class Branching:
    """Compares networks cheaply: all continue from one partly trained all-in-one network.

    All tasks are trained together for a few epochs; then each group continues on its own from that
    trunk and those heads for a few more. All branches have the same past, so their losses differ
    only by the group, at a fraction of the cost of a training. They show the early effect of
    sharing; how well it predicts the final effect depends on the problem and is learned from full
    trainings (`affinity.estimates.CalibratedGains`).

    Args:
        after: Fraction of the maximum epochs after which branches start.
        epochs: Fraction of the maximum epochs that a branch takes.

    Raises:
        InputError: If a fraction is not between 0 and 1.

    References:
        Lookahead losses (Fifty et al., 2021, `Efficiently Identifying Task Groupings for Multi-Task
        Learning <https://arxiv.org/abs/2109.04617>`_) are branches of a single step.

    Example:
        >>> from affinity.problems import load_digits
        >>> from affinity.training import TrainingSettings
        >>> problem = load_digits(width=8).with_settings(TrainingSettings(epochs=8))
        >>> networks = [frozenset({"odd"}), frozenset({"odd", "ink"})]
        >>> measured = Branching()(problem, networks, problem.replicate(0))
        >>> measured.evaluation_loss[:, 0].isfinite().sum(dim=1).tolist()  # tasks that have a loss
        [1, 2]
    """

    after: float = 0.125
    epochs: float = 0.05

    def __post_init__(self) -> None:
        for name in ("after", "epochs"):
            share = f"{name}, a fraction of the epochs,"
            check_number(share, getattr(self, name), "invalid-share", above=0, most=1)

    def __call__(
        self, problem: Problem, networks: Sequence[frozenset[str]], replicate: Replicate
    ) -> TrainingResults:
        """Train hard-shared networks as branches; refused where objective or sampling forbid it."""
        if not works_at_once(problem.tasks, problem.settings):
            raise InputError(
                "Expected a fixed weighted sum and joint batches, under which networks branch, but "
                f"got {problem.settings.objective} and {problem.settings.sampling}.",
                "unsupported-objective",
            )
        everything = frozenset(problem.names)
        early = replace(problem.settings, epochs=self._epochs(problem, self.after))
        short = replace(problem.settings, epochs=self._epochs(problem, self.epochs))
        together = train_networks(problem, [everything], [replicate], early, keep=True)
        state = together.trained[0][0].state
        if together.diverged or state is None:
            raise InputError(
                f"Expected all tasks to train together until networks branch, but "
                f"{'; '.join(together.diverged)}.",
                "diverged",
            )
        starts = {network: _branch_start(state, problem.names, network) for network in networks}
        branches = train_networks(problem, networks, [replicate], short, starts=starts)
        shared = together.seconds.sum() / len(branches.networks)
        return replace(branches, seconds=branches.seconds + shared)

    def _epochs(self, problem: Problem, fraction: float) -> int:
        return max(1, round(fraction * problem.settings.epochs))


def _branch_start(
    state: Mapping[str, Tensor], tasks: Sequence[str], network: frozenset[str]
) -> Initialization:
    """The trunk, and the heads of the network's tasks at their places in it."""
    heads = [number for number, task in enumerate(tasks) if task in network]
    tensors = {name: value for name, value in state.items() if not name.startswith("heads.")}
    for place, number in enumerate(heads):
        for name, value in state.items():
            if name.startswith(f"heads.{number}."):
                tensors[f"heads.{place}.{name.split('.', 2)[2]}"] = value
    return Initialization(tensors)
