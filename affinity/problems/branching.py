"""Branching: what groups of tasks do to each other in a short while after they part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import Replicate
from affinity.training import Initialization, works_at_once

from .problem import Problem
from .train_networks import TrainingResults, train_networks


@dataclass(frozen=True)
class Branching:
    """Measures networks cheaply: all leave one young all-in-one network, and go on for a while.

    All tasks are trained together for a few epochs; then each group goes on by itself from that
    trunk and those heads for a few more. Since every branch has the same past, their losses differ
    by what the groups do alone, at a fraction of a training. They show what sharing does early;
    whether that foretells what it does in the end differs from problem to problem and has to be
    learned beside full trainings (`affinity.estimates.CalibratedGains` does).

    Args:
        after: The share of the epochs allowed after which branches leave.
        epochs: The share of the epochs allowed that a branch lasts.

    Raises:
        InputError: If a share is not between 0 and 1.

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
            if not 0 < getattr(self, name) <= 1:
                raise InputError(
                    f"Expected {name} as a share of the epochs above 0 and at most 1, but got "
                    f"{getattr(self, name)}."
                )

    def __call__(
        self, problem: Problem, networks: Sequence[frozenset[str]], replicate: Replicate
    ) -> TrainingResults:
        """Losses of hard-shared networks at the end of their branches.

        Raises:
            InputError: If networks are not trained at once with the problem's objective and
                sampling.
        """
        if not works_at_once(problem.tasks, problem.settings):
            raise InputError(
                "Expected a fixed weighted sum and joint batches, under which networks branch, but "
                f"got {problem.settings.objective} and {problem.settings.sampling}."
            )
        everything = frozenset(problem.names)
        young = replace(problem.settings, epochs=self._epochs(problem, self.after))
        short = replace(problem.settings, epochs=self._epochs(problem, self.epochs))
        together = train_networks(problem, [everything], [replicate], young, keep=True)
        state = together.trained[0][0].state
        if together.diverged or state is None:
            raise InputError(
                f"Expected all tasks to train together until networks branch, but "
                f"{'; '.join(together.diverged)}."
            )
        starts = {network: _start(state, problem.names, network) for network in networks}
        branches = train_networks(problem, networks, [replicate], short, starts=starts)
        shared = together.seconds.sum() / len(branches.networks)
        return replace(branches, seconds=branches.seconds + shared)

    def _epochs(self, problem: Problem, share: float) -> int:
        return max(1, round(share * problem.settings.epochs))


def _start(
    state: Mapping[str, Tensor], tasks: Sequence[str], network: frozenset[str]
) -> Initialization:
    """The trunk, and the heads of the network's tasks where they stand in it."""
    place = {
        str(at): str(new) for new, at in enumerate(a for a, t in enumerate(tasks) if t in network)
    }
    kept: dict[str, Tensor] = {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        at, _, inside = rest.partition(".")
        if part != "heads":
            kept[name] = value
        elif at in place:
            kept[f"heads.{place[at]}.{inside}"] = value
    return Initialization(kept)
