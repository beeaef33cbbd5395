"""Branched: the first stages of a trunk are shared, the others exist once per task."""

from collections.abc import Iterable

from torch import Tensor, nn

from affinity.errors import check_number
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal, stages_of


class Branched(Sharing):
    """A trunk that branches after some of its stages; all branches start equal.

    After 0 stages this is `Separate`, after all of them hard sharing.

    Args:
        trunk: Makes a trunk: an `nn.Sequential` of at least two stages.
        after: Number of shared stages.

    Raises:
        InputError: If the trunk has fewer than two stages, or fewer than `after`.

    Example:
        >>> from affinity.sharing import Perceptron
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = Branched(tasks, lambda: Perceptron(3, 4), lambda task: nn.Linear(4, 1))
        >>> len(network.stem), [len(branch) for branch in network.branches]
        (1, [1, 1])
    """

    def __init__(self, tasks: Iterable[Task], trunk: Trunk, head: Head, after: int = 1) -> None:
        super().__init__(tasks, head)
        stages = [stages_of(each, "branching") for each in make_equal(len(self.names), trunk)]
        most = len(stages[0])
        check_number("after", after, "invalid-branching", least=0, most=most)
        self.stem = nn.Sequential(*stages[0][:after])
        self.branches = nn.ModuleList(nn.Sequential(*own[after:]) for own in stages)

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The output of each task's branch, applied to the output of the shared stages."""
        shared = self.stem(inputs)
        return tuple(branch(shared) for branch in self.branches)
